select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at
from "queries"
where (metadata @> $1::jsonb or (metadata -> $3) is null and left("theme", 200) = left($2, 200) and (length($2) < 200 or "theme" = $2))
order by created_at desc, id desc
limit $4;
