insert into run_tasks (
    run_id, task, kind, state, query, model, opponent, swapped, metric, judge, repeat
)
select $1,
    -- Queries and models have the first numbers; each judgement has one of the following.
    $2::bigint * $3::bigint
        + (((query::bigint * cardinality($4::smallint[]) + subject.number - 1) * $7 + metric) * $8 + judge) * $9 + repeat,
    'judgement', 'waiting', query, subject.model, subject.opponent, subject.swapped, metric, judge, repeat
from generate_series(0, $2::bigint - 1) as query
cross join unnest($4::smallint[], $5::smallint[], $6::boolean[])
    with ordinality as subject (model, opponent, swapped, number)
cross join generate_series(0, $7::bigint - 1) as metric
cross join generate_series(0, $8::bigint - 1) as judge
cross join generate_series(0, $9::bigint - 1) as repeat
