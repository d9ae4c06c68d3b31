update run_attempts as attempts
set ended_at = given.ended_at,
    outcome = given.outcome,
    http_status = given.http_status,
    latency_ms = given.latency_ms,
    input_tokens = given.input_tokens,
    output_tokens = given.output_tokens,
    cost_usd = given.cost_usd,
    provider_id = given.provider_id
from unnest(
    $2::bigint[], $3::integer[], $4::timestamp[], $5::text[], $6::smallint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::float8[], $11::text[]
) as given (
    task, attempt, ended_at, outcome, http_status, latency_ms, input_tokens, output_tokens, cost_usd, provider_id
)
where attempts.run_id = $1 and attempts.task = given.task and attempts.attempt = given.attempt
