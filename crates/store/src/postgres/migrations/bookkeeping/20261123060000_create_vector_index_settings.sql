-- What is known of vector indexes. Times are UTC.

-- The search settings that meet a recall target, as measured on a table's own rows.
--
-- build        the file of the index that was measured: another build of the index has another one
-- filtering    none; some: under a filter that leaves too many rows to measure one by one
-- depth        results of each search
-- candidates   ivfflat.probes or hnsw.ef_search
-- recall       share of the nearest rows that was found
-- recall_low   with 95 % confidence the recall is not below it
-- latency_ms   median time of a search
-- sampled      searches that were made
-- rows         rows of the table then
create table vector_index_settings (
    table_name text not null,
    index_name text not null,
    build bigint not null,
    filtering text not null,
    depth integer not null,
    candidates integer not null,
    target double precision not null,
    recall double precision not null,
    recall_low double precision not null,
    latency_ms double precision not null,
    sampled integer not null,
    rows bigint not null,
    measured_at timestamp not null,
    constraint vector_index_settings_pkey primary key (table_name, index_name, filtering, depth),
    constraint vector_index_settings_filtering check (filtering in ('none', 'some'))
);

-- Changes of vector indexes.
--
-- observed  what the plan rests on
-- plan      what was to be done
-- writes    rows inserted and updated since the server's statistics began
-- ended_at  null while it is under way, or where it was ended by force
create table vector_index_plans (
    id uuid not null,
    table_name text not null,
    observed jsonb not null,
    plan jsonb not null,
    writes bigint not null,
    started_at timestamp not null,
    ended_at timestamp,
    constraint vector_index_plans_pkey primary key (id)
);
create index vector_index_plans_table_name_idx on vector_index_plans (table_name, started_at);
