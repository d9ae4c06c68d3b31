alter table "queries" add column if not exists "migration_run" uuid, add column if not exists "migration_digest" bytea;
