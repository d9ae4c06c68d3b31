-- What searches by vector were measured to do. Times are UTC.

-- Recent searches, of which some are made again to measure them. Vectors alone: neither texts nor filters are kept.
--
-- filter_class   what the search asked for besides nearness: none, category, metadata, text, time; several
-- wanted         results that were asked for
-- returned       results that there were
create table vector_search_samples (
    id uuid not null,
    table_name text not null,
    filter_class text not null,
    searched_at timestamp not null,
    embedding real[] not null,
    wanted integer not null,
    returned integer not null,
    latency_ms double precision not null,
    constraint vector_search_samples_pkey primary key (id)
);
create index vector_search_samples_table_name_idx on vector_search_samples (table_name, searched_at);

-- Searches of a stretch of time, by table and class of filter.
--
-- measured_at      end of the stretch
-- seconds          its length
-- searches         searches by vector in it, of one process
-- latency_*_ms     percentiles of their times
-- wanted           results that they asked for, in all
-- returned         results that they had
-- replayed         searches that were made again, and compared with exact ones
-- missing          results that those did not have although they exist; their number does not depend on recall
-- recall           share of the nearest rows that those found, of ten each; null where none was made again
-- recall_low       with 95 % confidence the recall is not below it
-- recall_high      nor above it
-- target           the recall that was wanted
-- rows             rows of the table then
create table vector_search_history (
    table_name text not null,
    filter_class text not null,
    measured_at timestamp not null,
    seconds double precision not null,
    searches bigint not null,
    latency_p50_ms double precision,
    latency_p95_ms double precision,
    latency_p99_ms double precision,
    wanted bigint not null,
    returned bigint not null,
    replayed integer not null,
    missing bigint not null,
    recall double precision,
    recall_low double precision,
    recall_high double precision,
    target double precision not null,
    rows bigint not null,
    constraint vector_search_history_pkey primary key (table_name, filter_class, measured_at)
);
