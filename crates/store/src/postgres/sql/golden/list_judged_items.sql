select id, query_id,
    case when query_id is null then substring(sha256(convert_to(query_text, 'UTF8')) for 16) end as query_digest,
    model_id, evaluation_prompt_id,
    coalesce(metadata -> 'mode' = '"pairwise"', false) as is_pairwise,
    case when octet_length(metadata ->> 'opponent') <= 4096 then metadata ->> 'opponent' end as opponent
from (
    select id, query_id, query_text, model_id, evaluation_prompt_id, panopticon_metadata(result_metadata) as metadata
    from evaluation_results
where left("evaluation_prompt_id", 200) = left($1, 200) and (length($1) < 200 or "evaluation_prompt_id" = $1)
    and output_text is not null
    and model_id is not null
    and coalesce(octet_length(query_id), 0) <= 4096
    and coalesce(octet_length(model_id), 0) <= 4096
    and coalesce(octet_length(evaluation_prompt_id), 0) <= 4096
    and (query_id is not null or query_text is not null)
    and id > $2
    order by id
    limit $3
) selected
order by id;
