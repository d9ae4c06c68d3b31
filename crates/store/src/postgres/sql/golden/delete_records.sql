with gone as (
    delete from "llm_outputs" kept
    using unnest($1::uuid[], $2::text[]) as asked (id, shown)
    where kept.id = asked.id and coalesce(kept.source_id, kept.id::text) = asked.shown
    returning kept.id, kept.migration_run, asked.shown
), noted as (
    insert into chroma_deleted_records (table_name, id, migration_run, deleted_at)
    select $3, id, migration_run, $4::timestamp
    from gone
    where migration_run is not null
    on conflict (table_name, id) do update
    set migration_run = excluded.migration_run, deleted_at = excluded.deleted_at
)
select shown
from gone;
