select id, source_id, is_escaped, "document" as text, metadata::text as metadata, uri is not null as has_uri, uri, encode(vector_send(embedding), 'hex') as embedding
from (
    select id as page_id
    from "odd ""name"""
    where id = any($1)
        and (((metadata -> $2) > $3::jsonb and jsonb_typeof((metadata -> $2)) = 'number') or ((metadata -> $4) = any($5::jsonb[])) is not true or true or (strpos("document", $6) = 0) is not false)
    order by position nulls first, created_at, id
    limit $7
    offset $8
) page
join "odd ""name""" on id = page_id
order by position nulls first, created_at, id;
