select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at
from "queries"
where (metadata @> any($1::jsonb[]) or (metadata -> $4) is null and left("theme", 200) = any($2) and "theme" = any($3))
order by created_at desc, id desc
limit $5;
