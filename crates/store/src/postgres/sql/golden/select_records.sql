select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at
from "queries"
where id = any($1);
