insert into evaluation_results (
    id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id, evaluation_prompt, score,
    judge_model, "timestamp", result_metadata
)
select id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id, evaluation_prompt, score,
    judge_model, made_at, result_metadata::json
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::float8[],
    $10::text[], $11::timestamp[], $12::text[]
) as given (
    id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id, evaluation_prompt, score,
    judge_model, made_at, result_metadata
)
on conflict (id) do nothing
