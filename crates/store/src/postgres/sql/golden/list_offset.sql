select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at
from "queries"
order by created_at desc, id desc
limit $2
offset $1;
