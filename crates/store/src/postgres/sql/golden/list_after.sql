select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at
from "queries"
where (created_at, id) < ($1, $2)
order by created_at desc, id desc
limit $3;
