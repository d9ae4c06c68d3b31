with held as (
    update run_tasks as tasks
    set attempts = given.attempt
    from unnest($3::bigint[], $4::integer[], $5::text[], $6::timestamp[]) as given (task, attempt, model_id, began_at)
    where tasks.run_id = $1
        and tasks.task = given.task
        and tasks.worker = $2
        and tasks.state = 'ready'
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
    set requests = requests + (select count(*) from written)
    where run_id = $1 and worker = $2
)
select task as "task!"
from held
