update run_tasks as tasks
set answer_text = given.answer_text,
    answer_metadata = given.answer_metadata
from unnest($3::bigint[], $4::text[], $5::text[]) as given (task, answer_text, answer_metadata)
where tasks.run_id = $1
    and tasks.task = given.task
    and tasks.worker = $2
    -- Not `= 'ready'`: PostgreSQL would scan the whole index of ready tasks, with the entries of all earlier ones.
    and tasks.state not in ('waiting', 'done')
returning tasks.task
