select "id", "source_id", "output_text", "theme", "model_id", "query", "metadata"::text, "uri", "created_at", vector_send("embedding")
from "llm_outputs"
where source_id is not null;
