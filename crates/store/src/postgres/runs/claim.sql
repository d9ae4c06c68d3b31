with chosen as (
    select task
    from run_tasks
    where run_id = $1
        and state = 'ready'
        and kind = $5
        and not exists (
            select 1
            from run_workers as workers
            where workers.run_id = $1
                and workers.worker = run_tasks.worker
                and workers.lease_until > clock_timestamp() at time zone 'utc'
                -- No lease lasts for a day: one that seems to is another hand's.
                and workers.lease_until < clock_timestamp() at time zone 'utc' + interval '1 day'
        )
    order by task
    limit $3
    for update skip locked
), claimed as (
    update run_tasks as tasks
    set worker = $2, claims = least(coalesce(claims, 0), 2147483646) + 1
    from chosen
    where tasks.run_id = $1 and tasks.task = chosen.task
    returning tasks.*
)
select claimed.task as "task!",
    claimed.kind as "kind!",
    claimed.query as "query?",
    claimed.model as "model?",
    claimed.opponent,
    claimed.swapped as "swapped?",
    claimed.metric,
    claimed.judge,
    claimed.repeat,
    claimed.claims as "claims?",
    claimed.attempts as "attempts?",
    claimed.answer_text,
    claimed.answer_metadata,
    queries.query_id as "query_id?",
    queries.query_text as "query_text?",
    queries.theme as "theme?",
    queries.reference as "reference?",
    answers.answer_text as "output_text?",
    answers.output_id as "output_id?",
    answers.reason as "output_reason?",
    opponents.answer_text as "opponent_text?",
    opponents.output_id as "opponent_output_id?",
    opponents.reason as "opponent_reason?"
from claimed
-- What is claimed is given to the worker, whatever it lacks: else nobody would ever end it.
left join run_queries as queries on queries.run_id = $1 and queries.query = claimed.query
-- Answers are numbered by query and model.
left join run_tasks as answers
    on claimed.kind = 'judgement'
    and answers.run_id = $1
    and answers.task = claimed.query::bigint * $4::bigint + claimed.model
left join run_tasks as opponents
    on claimed.opponent is not null
    and opponents.run_id = $1
    and opponents.task = claimed.query::bigint * $4::bigint + claimed.opponent
order by claimed.task
