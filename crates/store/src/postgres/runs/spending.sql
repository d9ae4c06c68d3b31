with calls as (
    select
        -- Times beyond the range of Rust's types, which another program wrote, are not known.
        case
            when coalesce(ended_at, began_at) between '0001-01-01' and '9999-12-31 23:59:59.999999'
            then coalesce(ended_at, began_at)
        end as ended,
        greatest(input_tokens, 0)::numeric + greatest(output_tokens, 0)::numeric as tokens,
        -- No real price; NaN is greater than all numbers.
        case when cost_usd >= 0 and cost_usd < 1e12 then cost_usd end as cost
    from run_attempts
    where run_id = $1
), ends as (
    select min(ended) as first, extract(epoch from max(ended) - min(ended))::float8 as seconds
    from calls
)
select max(ended) as "until?",
    count(*) as "requests!",
    least(coalesce(sum(tokens), 0), 9223372036854775807)::bigint as "tokens!",
    coalesce(sum(cost), 0) as "cost_usd!"
from calls, ends
group by case
    when ended is null then -1
    when seconds > 0 then least(floor(extract(epoch from ended - first)::float8 / seconds * $2::float8), $2::float8 - 1)
    else 0
end
order by max(ended) nulls first
