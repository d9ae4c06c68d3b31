insert into "llm_outputs" ("id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "uri", "created_at", "embedding")
select "id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "uri", "created_at", "embedding"
from panopticon_staging
on conflict (id) do nothing;
