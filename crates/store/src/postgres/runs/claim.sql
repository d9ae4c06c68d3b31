-- Claims up to $3 tasks of kind $5 for worker $2, or reads task $7, which the worker has claimed.
with chosen as (
    select task
    from run_tasks
    where $7::bigint is null
        and run_id = $1
        and state = 'ready'
        and kind = $5
        and not exists (
            select 1
            from run_workers as workers
            where workers.run_id = $1
                and workers.worker = run_tasks.worker
                and workers.lease_until > clock_timestamp() at time zone 'utc'
                -- No lease lasts for a day: another program has written one that seems to.
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
), found as (
    select * from claimed
    union all
    select * from run_tasks where run_id = $1 and task = $7 and worker = $2 and state = 'ready'
)
select found.task as "task!",
    found.kind as "kind!",
    found.query as "query?",
    found.model as "model?",
    found.opponent,
    found.swapped as "swapped?",
    found.metric,
    found.judge,
    found.repeat,
    found.claims as "claims?",
    found.attempts as "attempts?",
    -- The total size of the texts, which are read only if it is at most the requested size.
    sizes.bytes as "bytes!",
    case when sizes.bytes <= $6 then found.answer_text end as "answer_text?",
    case when sizes.bytes <= $6 then found.answer_metadata end as "answer_metadata?",
    case when sizes.bytes <= $6 then queries.query_id end as "query_id?",
    case when sizes.bytes <= $6 then queries.query_text end as "query_text?",
    case when sizes.bytes <= $6 then queries.theme end as "theme?",
    case when sizes.bytes <= $6 then queries.reference end as "reference?",
    case when sizes.bytes <= $6 then answers.answer_text end as "output_text?",
    case when sizes.bytes <= $6 then answers.output_id end as "output_id?",
    case when sizes.bytes <= $6 then answers.reason end as "output_reason?",
    case when sizes.bytes <= $6 then opponents.answer_text end as "opponent_text?",
    case when sizes.bytes <= $6 then opponents.output_id end as "opponent_output_id?",
    case when sizes.bytes <= $6 then opponents.reason end as "opponent_reason?"
from found
-- Claimed tasks are returned even if parts are missing: otherwise no worker would end them.
left join run_queries as queries on queries.run_id = $1 and queries.query = found.query
-- The number of an answer follows from its query and model.
left join run_tasks as answers
    on found.kind = 'judgement'
    and answers.run_id = $1
    and answers.task = found.query::bigint * $4::bigint + found.model
left join run_tasks as opponents
    on found.opponent is not null
    and opponents.run_id = $1
    and opponents.task = found.query::bigint * $4::bigint + found.opponent
cross join lateral (
    select
        coalesce(octet_length(found.answer_text), 0)::bigint
        + coalesce(octet_length(found.answer_metadata), 0)
        + coalesce(octet_length(queries.query_text), 0)
        + coalesce(octet_length(queries.theme), 0)
        + coalesce(octet_length(queries.reference), 0)
        + coalesce(octet_length(answers.answer_text), 0)
        + coalesce(octet_length(answers.reason), 0)
        + coalesce(octet_length(opponents.answer_text), 0)
        + coalesce(octet_length(opponents.reason), 0) as bytes
) as sizes
order by found.task
