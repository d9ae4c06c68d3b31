select id, source_id, "output_text" as text, "theme", "model_id", "query", metadata::text as metadata, created_at
from "llm_outputs"
where id = $1
for update;
