create temporary table panopticon_staging on commit drop as
select "id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "uri", "created_at", "embedding", "migration_run", "migration_digest"
from "llm_outputs"
with no data;
