-- The rows of chroma_collections that runs have replaced, so that they are restored when a run is undone.
--
-- run_id, id  the run, and the collection
-- place       of all replacements, in the order in which they were made
-- row         the row as it was before; its `position` tells it from a later collection with the same id
create table chroma_replaced_collections (
    run_id uuid not null,
    id uuid not null,
    place bigint not null default nextval('chroma_positions'),
    row jsonb not null,
    primary key (run_id, id)
);
create index chroma_replaced_collections_id_idx on chroma_replaced_collections (id);

-- Databases that Chroma clients have deleted here and a migration had registered. Times are UTC.
--
-- migration_run  the run that registered it
create table chroma_deleted_databases (
    tenant text not null,
    name text not null,
    migration_run uuid not null,
    deleted_at timestamp not null,
    primary key (tenant, name)
);
