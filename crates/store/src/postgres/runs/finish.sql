update run_tasks as tasks
set state = 'done',
    outcome = given.outcome,
    reason = given.reason,
    output_id = given.output_id,
    result_id = given.result_id,
    worker = null
from unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
    as given (task, outcome, reason, output_id, result_id)
where tasks.run_id = $1
    and tasks.task = given.task
    and tasks.worker = $2
    -- Not `= 'ready'`: PostgreSQL would scan the whole index of ready tasks, with the entries of all earlier ones.
    and tasks.state not in ('waiting', 'done')
returning tasks.task
