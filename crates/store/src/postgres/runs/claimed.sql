with claimed as (
    select *
    from run_tasks
    where run_id = $1 and worker = $2 and task = $3 and state = 'ready'
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
    -- What the texts have together; then they are read if that is no more than what is asked for.
    sizes.bytes as "bytes!",
    case when sizes.bytes <= $5 then claimed.answer_text end as "answer_text?",
    case when sizes.bytes <= $5 then claimed.answer_metadata end as "answer_metadata?",
    case when sizes.bytes <= $5 then queries.query_id end as "query_id?",
    case when sizes.bytes <= $5 then queries.query_text end as "query_text?",
    case when sizes.bytes <= $5 then queries.theme end as "theme?",
    case when sizes.bytes <= $5 then queries.reference end as "reference?",
    case when sizes.bytes <= $5 then answers.answer_text end as "output_text?",
    case when sizes.bytes <= $5 then answers.output_id end as "output_id?",
    case when sizes.bytes <= $5 then answers.reason end as "output_reason?",
    case when sizes.bytes <= $5 then opponents.answer_text end as "opponent_text?",
    case when sizes.bytes <= $5 then opponents.output_id end as "opponent_output_id?",
    case when sizes.bytes <= $5 then opponents.reason end as "opponent_reason?"
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
cross join lateral (
    select
        coalesce(octet_length(claimed.answer_text), 0)::bigint
        + coalesce(octet_length(claimed.answer_metadata), 0)
        + coalesce(octet_length(queries.query_text), 0)
        + coalesce(octet_length(queries.theme), 0)
        + coalesce(octet_length(queries.reference), 0)
        + coalesce(octet_length(answers.answer_text), 0)
        + coalesce(octet_length(answers.reason), 0)
        + coalesce(octet_length(opponents.answer_text), 0)
        + coalesce(octet_length(opponents.reason), 0) as bytes
) as sizes
order by claimed.task
