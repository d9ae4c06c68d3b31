with gone as (
    delete from "odd ""name"""
    where id in (
        select id from "odd ""name"""
        order by position nulls first, created_at, id
        limit $1
        for update
    )
    returning id, migration_run
), noted as (
    insert into chroma_deleted_records (table_name, id, migration_run, deleted_at)
    select $2, id, migration_run, $3::timestamp
    from gone
    where migration_run is not null
    on conflict (table_name, id) do update
    set migration_run = excluded.migration_run, deleted_at = excluded.deleted_at
)
select count(*)
from gone;
