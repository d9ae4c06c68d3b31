-- What migrations from ChromaDB have done in this database. Times are UTC.

-- One collection of one run.
--
-- status         copying: rows are coming in; copied: all are there, and index and comparison remain; complete; undone
-- holder         the process that works on it: one that finds another here stops
-- created_table  whether the run made the table
-- definition     the table as it was asked for, and which metadata keys became columns
-- progress       counts of the rows that this run has committed
-- manifest       counts, digests and versions at the end
create table migration_jobs (
    id uuid primary key,
    run_id uuid not null,
    collection_id uuid not null,
    tenant text not null,
    database text not null,
    collection text not null,
    source text not null,
    table_name text not null,
    definition jsonb not null,
    status text not null,
    holder uuid not null,
    created_table boolean not null,
    written bigint not null default 0,
    updated bigint not null default 0,
    deleted bigint not null default 0,
    manifest jsonb,
    started_at timestamp not null,
    changed_at timestamp not null
);

-- Records that PostgreSQL cannot hold: each as `panopticon dump` prints it, in full.
create table migration_rejects (
    run_id uuid not null,
    tenant text not null,
    database text not null,
    collection text not null,
    source_id bytea not null,
    reason text not null,
    record bytea not null,
    created_at timestamp not null
);
create index migration_rejects_run_id_idx on migration_rejects (run_id);

-- Rows as they were before a run changed or deleted them, so that it can be undone.
--
-- change  updated or deleted
create table migration_replaced (
    run_id uuid not null,
    table_name text not null,
    id uuid not null,
    change text not null,
    row jsonb not null,
    primary key (run_id, table_name, id)
);
