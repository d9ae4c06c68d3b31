-- migration_run     the run that registered it, with which it is undone; null if a Chroma client created it
-- migration_digest  of what the run registered, to tell whether a client has changed it since

alter table chroma_tenants add column migration_run uuid;
alter table chroma_databases add column migration_run uuid;
alter table chroma_collections add column migration_run uuid;
alter table chroma_collections add column migration_digest bytea;
