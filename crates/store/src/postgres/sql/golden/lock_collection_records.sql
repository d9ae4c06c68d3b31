select id, source_id, is_escaped, "document" as text, metadata::text as metadata, uri is not null as has_uri, uri
from "odd ""name"""
where id = any($1)
order by id
for update;
