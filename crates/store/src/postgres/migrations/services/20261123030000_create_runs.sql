-- Runs: many queries answered by several models, each answer judged by several metrics and judges.
--
-- runs           one row a run, with what all processes that work on it have used
--   plan         everything that is asked and how, as JSON, never changed; what a resumed run may use is in allowance
--   state        running:   tasks are worked on by whoever claims them
--                cancelled: somebody asked for it; no task is claimed any more
--                stopped:   it cannot go on, for stop_reason
--                completed: every task is done
--   began_at     when it was begun or resumed last, UTC; its budget of time counts from there
-- run_queries    the queries as they were when the run was made
-- run_tasks      one row a call that the run needs. Its number follows from what it is about, so that none is there twice
--   kind         answer: model answers query. judgement: judge judges the answer, or compares it with opponent's
--   state        waiting: the answers are not there. ready: to be done. done: outcome says how
--   worker       whose task it is while that worker's lease lasts
--   swapped      whether a comparison shows model's answer second
--   attempts     how many calls were begun; the numbers of rows in run_attempts
--   answer_*     what the model said, written before it goes to the storage of outputs as output_id
-- run_workers    who works on a run. One whose lease is over counts as dead, and its tasks are anybody's
-- run_attempts   one row a call, written before it is sent; without outcome it is under way, or was when its process died
--
-- Small tables of the coordinator: nothing here is searched by vectors.

create table if not exists runs (
    id uuid primary key,
    name text,
    plan text not null,
    allowance text not null,
    state text not null constraint runs_state
        check (state in ('running', 'cancelled', 'stopped', 'completed')),
    stop_reason text,
    created_at timestamp not null,
    began_at timestamp not null,
    ended_at timestamp,
    requests bigint not null default 0,
    tokens bigint not null default 0,
    cost_usd double precision not null default 0,
    without_usage bigint not null default 0,
    without_cost bigint not null default 0
);
create index if not exists runs_created_at_idx on runs (created_at desc, id desc);

create table if not exists run_queries (
    run_id uuid not null references runs on delete cascade,
    query integer not null,
    query_id text,
    query_text text not null,
    theme text not null,
    reference text,
    primary key (run_id, query)
);

create table if not exists run_tasks (
    run_id uuid not null references runs on delete cascade,
    task bigint not null,
    kind text not null constraint run_tasks_kind check (kind in ('answer', 'judgement')),
    query integer not null,
    model smallint not null,
    opponent smallint,
    swapped boolean not null default false,
    metric smallint,
    judge smallint,
    repeat integer,
    state text not null constraint run_tasks_state check (state in ('waiting', 'ready', 'done')),
    outcome text constraint run_tasks_outcome
        check (outcome in ('answered', 'scored', 'unparsed', 'refused', 'failed', 'unanswered')),
    reason text,
    worker uuid,
    claims integer not null default 0,
    attempts integer not null default 0,
    answer_text text,
    answer_metadata text,
    output_id text,
    result_id text,
    primary key (run_id, task),
    constraint run_tasks_outcome_when_done check ((state = 'done') = (outcome is not null)),
    constraint run_tasks_output_when_answered check (outcome <> 'answered' or output_id is not null)
) with (fillfactor = 80);
create index if not exists run_tasks_ready_idx on run_tasks (run_id, kind, task) where state = 'ready';
create index if not exists run_tasks_query_idx on run_tasks (run_id, query) where state = 'waiting';

create table if not exists run_workers (
    run_id uuid not null references runs on delete cascade,
    worker uuid not null,
    lease_until timestamp not null,
    primary key (run_id, worker)
);

create table if not exists run_attempts (
    run_id uuid not null references runs on delete cascade,
    task bigint not null,
    attempt integer not null,
    model_id text not null,
    began_at timestamp not null,
    ended_at timestamp,
    outcome text,
    http_status smallint,
    latency_ms bigint,
    input_tokens bigint,
    output_tokens bigint,
    cost_usd double precision,
    provider_id text,
    primary key (run_id, task, attempt)
);
