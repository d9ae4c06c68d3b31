-- What a migrated row remembers. Null in rows born in PostgreSQL.
--
-- migration_run     the run that brought the row: migration_jobs tells which collection it read
-- migration_digest  first 16 bytes of the SHA-256 of the row as it was written; another content was edited since

alter table queries
    add column if not exists migration_run uuid,
    add column if not exists migration_digest bytea;
alter table evaluation_metrics
    add column if not exists migration_run uuid,
    add column if not exists migration_digest bytea;
alter table llm_outputs
    add column if not exists migration_run uuid,
    add column if not exists migration_digest bytea;
