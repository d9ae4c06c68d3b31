-- The tables of Chroma 0.4.0 that the reader looks at (FORMAT §2), after all of its migrations.
create table collections (id text primary key, name text not null, topic text not null, unique (name));
alter table collections add column dimension integer;
create table collection_metadata (collection_id text references collections(id) on delete cascade,
    key text not null, str_value text, int_value integer, float_value real, primary key (collection_id, key));
create table segments (id text primary key, type text not null, scope text not null, topic text,
    collection text references collections(id));
create table segment_metadata (segment_id text references segments(id) on delete cascade, key text not null,
    str_value text, int_value integer, float_value real, primary key (segment_id, key));
create table embeddings (id integer primary key, segment_id text not null, embedding_id text not null,
    seq_id blob not null, created_at timestamp not null default current_timestamp,
    unique (segment_id, embedding_id));
create table embedding_metadata (id integer references embeddings(id), key text not null, string_value text,
    int_value integer, float_value real, primary key (id, key));
create table max_seq_id (segment_id text primary key, seq_id blob not null);
create table embeddings_queue (seq_id integer primary key, created_at timestamp not null default
    current_timestamp, operation integer not null, topic text not null, id text not null, vector blob,
    encoding text, metadata text);
