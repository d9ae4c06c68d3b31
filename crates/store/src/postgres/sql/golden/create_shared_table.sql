create table "odd ""name""" (
    "id" uuid primary key,
    "source_id" text not null,
    "document" text,
    "collection" text not null,
    "published" bigint,
    "metadata" jsonb,
    "uri" text,
    "created_at" timestamp without time zone not null,
    "embedding" vector(3072) not null,
    "migration_run" uuid,
    "migration_digest" bytea
);
