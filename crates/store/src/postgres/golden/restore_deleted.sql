insert into "llm_outputs"
select (jsonb_populate_record(null::"llm_outputs", replaced.row)).*
from migration_replaced replaced
where replaced.run_id = $1 and replaced.table_name = $2 and replaced.change = 'deleted'
on conflict (id) do nothing;
