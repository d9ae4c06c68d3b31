-- The inner offset is an optimization fence: without it the metadata would be parsed again for each key.
select id as "id!", query_id,
    case when query_id is null then substring(sha256(convert_to(whole_query, 'UTF8')) for 16) end as query_digest,
    model_id as "model_id!", evaluation_prompt_id,
    coalesce(metadata -> 'mode' = '"pairwise"', false) as "is_pairwise!",
    case when octet_length(metadata ->> 'opponent') <= 4096 then metadata ->> 'opponent' end as opponent,
    case when octet_length(metadata ->> 'opponent_output_id') <= 4096 then metadata ->> 'opponent_output_id' end
        as opponent_output_id,
    left(metadata ->> 'run_id', 36) as run_id,
    left(whole_query, $2) as query_text,
    left(whole_prompt, $2) as evaluation_prompt,
    left(whole_output, $2) as "output_text!",
    octet_length(whole_output) as "output_bytes!"
from (
    select id, query_id, model_id, evaluation_prompt_id, query_text as whole_query, output_text as whole_output,
        evaluation_prompt as whole_prompt, panopticon_metadata(result_metadata) as metadata
    from evaluation_results
    where id = $1
        and output_text is not null
        and model_id is not null
        and (query_id is not null or query_text is not null)
        and coalesce(octet_length(query_id), 0) <= 4096
        and octet_length(model_id) <= 4096
        and coalesce(octet_length(evaluation_prompt_id), 0) <= 4096
    offset 0
) result
