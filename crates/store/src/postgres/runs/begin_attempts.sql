with run as materialized (
    select state, requests, tokens, cost_usd, without_usage, without_cost
    from runs
    where id = $1
    -- Holds back whoever would delete the run, and nobody else.
    for key share
), held as (
    update run_tasks as tasks
    set attempts = given.attempt
    from run, unnest($3::bigint[], $4::integer[], $5::text[], $6::timestamp[])
        as given (task, attempt, model_id, began_at)
    -- Of a run that was ended no call is made any more.
    where run.state = 'running'
        and tasks.run_id = $1
        and tasks.task = given.task
        and tasks.worker = $2
        -- Not `= 'ready'`: the index of ready tasks would be searched whole, with all that were ready before.
        and tasks.state not in ('waiting', 'done')
    returning given.*
), written as (
    insert into run_attempts (run_id, task, attempt, model_id, began_at)
    select $1, task, attempt, model_id, began_at
    from held
    -- Written before, by a transaction whose commit nobody heard of.
    on conflict (run_id, task, attempt) do nothing
    returning task
), counted as (
    update run_workers
    set requests = (requests::numeric + least((select count(*) from written), 9223372036854775807 - requests::numeric))::bigint
    where run_id = $1 and worker = $2
)
select left(state, 100) as "state?",
    array(select task from held) as "held!",
    requests as "requests?",
    (
        -- Negative if one worker's is, or is missing. What this statement has counted is not there yet.
        select case
            when min(coalesce(workers.requests, -1)) < 0 then -1
            else least(coalesce(sum(workers.requests), 0) + (select count(*) from written), 9223372036854775807)::bigint
        end
        from run_workers as workers
        where workers.run_id = $1
    ) as "worker_requests?",
    tokens as "tokens?",
    cost_usd as "cost_usd?",
    without_usage as "without_usage?",
    without_cost as "without_cost?"
from run
