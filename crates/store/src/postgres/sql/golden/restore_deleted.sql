insert into "llm_outputs" ("id", "odd ""column""")
overriding system value
select former."id", former."odd ""column"""
from migration_replaced replaced
cross join lateral jsonb_populate_record(null::"llm_outputs", replaced.row) former
where replaced.run_id = $1 and replaced.table_name = $2 and replaced.change = 'deleted'
on conflict (id) do nothing;
