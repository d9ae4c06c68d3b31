update "llm_outputs" kept
set "source_id" = former."source_id",
    "output_text" = former."output_text",
    "theme" = former."theme",
    "model_id" = former."model_id",
    "query" = former."query",
    "metadata" = former."metadata",
    "uri" = former."uri",
    "created_at" = former."created_at",
    "embedding" = former."embedding",
    "migration_run" = former."migration_run",
    "migration_digest" = former."migration_digest"
from migration_replaced replaced
cross join lateral jsonb_populate_record(null::"llm_outputs", replaced.row) former
where replaced.run_id = $1 and replaced.table_name = $2 and replaced.change = 'updated'
    and kept.id = replaced.id and not (kept.id = any($3));
