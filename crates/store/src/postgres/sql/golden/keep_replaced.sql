insert into migration_replaced (run_id, table_name, id, change, row)
select $1, $2, kept.id, $3, to_jsonb(kept)
from "llm_outputs" kept
where kept.id = any($4) and kept.migration_run is distinct from $1
on conflict (run_id, table_name, id) do update
set change = excluded.change;
