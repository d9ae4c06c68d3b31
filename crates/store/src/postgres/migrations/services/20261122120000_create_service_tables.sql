-- The services' tables, as the specification of the first Panopticon names them. A database made by the old
-- services has them already and is adopted: nothing of it is dropped, renamed or rewritten.
--
-- id          canonical UUID of the record, or the UUIDv5 of an id that is none
-- source_id   ChromaDB's id, verbatim, of a migrated row; null for rows born in PostgreSQL
-- embedding   all-MiniLM-L6-v2, 384 components
-- metadata    the user's keys, and category and timestamp as the services wrote them
-- created_at  UTC
--
-- Vector indexes are not here: one built on an empty table cannot find its clusters.

create table if not exists queries (
    id uuid primary key default gen_random_uuid(),
    query_text text not null,
    embedding vector(384),
    theme text not null,
    metadata jsonb,
    created_at timestamp not null default (now() at time zone 'utc')
);
alter table queries add column if not exists source_id text;
alter table queries add column if not exists uri text;

create table if not exists evaluation_metrics (
    id uuid primary key default gen_random_uuid(),
    prompt text not null,
    embedding vector(384),
    metric_type text not null,
    metadata jsonb,
    created_at timestamp not null default (now() at time zone 'utc')
);
alter table evaluation_metrics add column if not exists source_id text;
alter table evaluation_metrics add column if not exists uri text;

create table if not exists llm_outputs (
    id uuid primary key default gen_random_uuid(),
    output_text text not null,
    embedding vector(384),
    model_id text not null,
    query text not null,
    theme text not null,
    metadata jsonb,
    created_at timestamp not null default (now() at time zone 'utc')
);
alter table llm_outputs add column if not exists source_id text;
alter table llm_outputs add column if not exists uri text;

create table if not exists evaluation_results (
    id varchar primary key,
    query_id varchar,
    query_text text,
    output_text text,
    model_id varchar,
    theme varchar,
    evaluation_prompt_id varchar,
    evaluation_prompt text,
    score float,
    judge_model varchar,
    timestamp timestamp,
    result_metadata json
);
