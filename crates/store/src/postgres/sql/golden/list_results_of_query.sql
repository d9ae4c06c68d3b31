select id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id, evaluation_prompt,
    score, judge_model, "timestamp", result_metadata::text as result_metadata
from evaluation_results
where left("query_id", 200) = left($1, 200) and (length($1) < 200 or "query_id" = $1)
order by "timestamp" desc nulls last, id desc
limit $2;
