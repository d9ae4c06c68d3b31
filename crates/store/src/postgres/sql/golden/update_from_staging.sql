update "llm_outputs" kept
set "source_id" = staged."source_id",
    "output_text" = staged."output_text",
    "theme" = staged."theme",
    "model_id" = staged."model_id",
    "query" = staged."query",
    "metadata" = staged."metadata",
    "uri" = staged."uri",
    "created_at" = staged."created_at",
    "embedding" = staged."embedding",
    "migration_digest" = staged."migration_digest"
from panopticon_staging staged
where kept.id = staged.id and kept.id = any($1);
