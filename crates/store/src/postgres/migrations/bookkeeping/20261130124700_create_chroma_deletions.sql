-- What Chroma clients have deleted here and a migration had written, so that the next one does not restore it. Times are UTC.
--
-- chroma_deleted_records
--   table_name, id  the row
--   migration_run   the run that wrote it
--
-- chroma_deleted_collections
--   id              of the collection, whose records are all deleted
--   migration_run   the run that registered it; null if that was undone
create table chroma_deleted_records (
    table_name text not null,
    id uuid not null,
    migration_run uuid not null,
    deleted_at timestamp not null,
    primary key (table_name, id)
);

create table chroma_deleted_collections (
    id uuid primary key,
    migration_run uuid,
    deleted_at timestamp not null
);
