select id, source_id, "output_text" as text, "theme", "model_id", "query", metadata::text as metadata, created_at
from "llm_outputs"
where left("model_id", 200) = left($1, 200) and (length($1) < 200 or "model_id" = $1)
order by created_at desc, id desc
limit $2;
