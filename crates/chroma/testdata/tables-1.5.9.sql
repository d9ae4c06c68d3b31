-- The tables of Chroma 1.5.9 that the reader looks at (FORMAT §2), after all of its migrations.
create table migrations (dir text not null, version integer not null, filename text not null, sql text not null,
    hash text not null, primary key (dir, version));
create table tenants (id text primary key, unique (id));
create table databases (id text primary key, name text not null, tenant_id text not null, unique (tenant_id, name));
create table collections (id text primary key, name text not null, dimension integer,
    database_id text not null references databases(id), config_json_str text, schema_str text,
    unique (name, database_id));
create table collection_metadata (collection_id text references collections(id) on delete cascade,
    key text not null, str_value text, int_value integer, float_value real, bool_value integer,
    primary key (collection_id, key));
create table segments (id text primary key, type text not null, scope text not null,
    collection text references collections(id) not null);
create table segment_metadata (segment_id text references segments(id) on delete cascade, key text not null,
    str_value text, int_value integer, float_value real, bool_value integer, primary key (segment_id, key));
create table embeddings (id integer primary key, segment_id text not null, embedding_id text not null,
    seq_id blob not null, created_at timestamp not null default current_timestamp,
    unique (segment_id, embedding_id));
create table embedding_metadata (id integer references embeddings(id), key text not null, string_value text,
    int_value integer, float_value real, bool_value integer, primary key (id, key));
create table embedding_metadata_array (id integer not null references embeddings(id), key text not null,
    string_value text, int_value integer, float_value real, bool_value integer);
create index embedding_metadata_array_id_key on embedding_metadata_array (id, key);
create table max_seq_id (segment_id text primary key, seq_id integer not null);
create table embeddings_queue (seq_id integer primary key, created_at timestamp not null default
    current_timestamp, operation integer not null, topic text not null, id text not null, vector blob,
    encoding text, metadata text);
create table embeddings_queue_config (id integer primary key, config_json_str text);
