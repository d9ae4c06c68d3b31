update run_tasks as tasks
set state = 'ready'
where tasks.run_id = $1
    and tasks.state = 'waiting'
    and ($2::integer[] is null or tasks.query = any($2))
    and not exists (
        select 1
        from run_tasks as answers
        where answers.run_id = $1
            -- The number of an answer follows from its query and model.
            and answers.task in (
                tasks.query::bigint * $3::bigint + tasks.model,
                tasks.query::bigint * $3::bigint + coalesce(tasks.opponent, tasks.model)
            )
            and answers.state <> 'done'
    )
