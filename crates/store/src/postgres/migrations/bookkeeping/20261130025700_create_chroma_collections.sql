-- The tenants, databases and collections that Chroma clients see. Times are UTC.
--
-- dimension      of the first record; null before it, and stays when all records are deleted
-- space          l2, cosine or ip
-- metadata       as clients wrote them, JSON; null if there are none
-- configuration  as clients read it, JSON; null of a migrated collection, whose metadata and space say what it is
-- schema         the same
-- table_name     the table with the records; null before the first one
-- definition     which metadata keys are columns of that table, JSON; null with it
-- position       collections are listed in this order
--
-- chroma_positions numbers collections, and records of their tables, in the order in which they were created.
create sequence chroma_positions;

create table chroma_tenants (
    name text primary key,
    resource_name text,
    created_at timestamp not null
);

create table chroma_databases (
    id uuid primary key,
    tenant text not null,
    name text not null,
    created_at timestamp not null
);
create unique index chroma_databases_name_idx on chroma_databases (tenant, name);

create table chroma_collections (
    id uuid primary key,
    database_id uuid not null,
    name text not null,
    dimension integer,
    space text not null,
    metadata text,
    configuration text,
    schema text,
    table_name text,
    definition text,
    position bigint not null default nextval('chroma_positions'),
    created_at timestamp not null
);
create unique index chroma_collections_name_idx on chroma_collections (database_id, name);
create index chroma_collections_position_idx on chroma_collections (database_id, position);
