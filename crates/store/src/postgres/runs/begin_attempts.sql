with run as materialized (
    select state, requests, tokens, cost_usd, without_usage, without_cost
    from runs
    where id = $1
    -- Blocks the deletion of the run, and no other statement.
    for key share
), held as (
    update run_tasks as tasks
    set attempts = given.attempt
    from run, unnest($3::bigint[], $4::integer[], $5::text[], $6::timestamp[])
        as given (task, attempt, model_id, began_at)
    -- No further call is made for a run that has ended.
    where run.state = 'running'
        and tasks.run_id = $1
        and tasks.task = given.task
        and tasks.worker = $2
        -- Not `= 'ready'`: PostgreSQL would scan the whole index of ready tasks, with the entries of all earlier ones.
        and tasks.state not in ('waiting', 'done')
    returning given.*
), written as (
    insert into run_attempts (run_id, task, attempt, model_id, began_at)
    select $1, task, attempt, model_id, began_at
    from held
    -- Already written, by a transaction whose commit was not confirmed.
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
        -- Negative if the count of one worker is negative or missing. Excludes what this statement adds.
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
