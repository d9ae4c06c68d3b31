select staged.id, staged.source_id
from panopticon_staging staged
join "llm_outputs" kept on kept.id = staged.id
where kept."source_id" is distinct from staged."source_id"
    or kept."output_text" is distinct from staged."output_text"
    or kept."theme" is distinct from staged."theme"
    or kept."model_id" is distinct from staged."model_id"
    or kept."query" is distinct from staged."query"
    or kept."metadata"::text is distinct from staged."metadata"::text
    or kept."uri" is distinct from staged."uri"
    or kept."created_at" is distinct from staged."created_at"
    or vector_send(kept."embedding") is distinct from vector_send(staged."embedding");
