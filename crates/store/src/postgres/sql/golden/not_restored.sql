select replaced.id
from migration_replaced replaced
cross join lateral jsonb_populate_record(null::"llm_outputs", replaced.row) former
left join "llm_outputs" found on found.id = replaced.id
where replaced.run_id = $1 and replaced.table_name = $2 and not (replaced.id = any($3))
    and (replaced.change = 'deleted' or found.id is not null)
    and (found."id", found."source_id", found."output_text", found."theme", found."model_id", found."query", found."metadata", found."uri", found."created_at", found."embedding", found."migration_run", found."migration_digest") is distinct from (former."id", former."source_id", former."output_text", former."theme", former."model_id", former."query", former."metadata", former."uri", former."created_at", former."embedding", former."migration_run", former."migration_digest")
order by replaced.id;
