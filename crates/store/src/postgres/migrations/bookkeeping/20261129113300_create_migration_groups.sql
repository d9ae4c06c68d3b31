-- Migrations of whole Chroma sources: each collection is a job with a run of its own, and all of them are resumed and
-- undone together. Times are UTC.
--
-- source     the directory or the URL that was read
-- placement  where collections go, as it was asked for; the same command has the same
-- status     copying: collections are coming in; complete
-- manifest   counts at the end
create table migration_groups (
    id uuid primary key,
    source text not null,
    placement jsonb not null,
    status text not null,
    manifest jsonb,
    started_at timestamp not null,
    changed_at timestamp not null
);

create table migration_group_jobs (
    job_id uuid primary key,
    group_id uuid not null
);
create index migration_group_jobs_group_id_idx on migration_group_jobs (group_id);
