select id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id, evaluation_prompt,
    score, judge_model, "timestamp", result_metadata::text as result_metadata
from evaluation_results
where left("theme", 200) = left($1, 200) and (length($1) < 200 or "theme" = $1)
    and left("judge_model", 200) = left($2, 200) and (length($2) < 200 or "judge_model" = $2)
    and case
        when panopticon_metadata(result_metadata) ->> 'status' in ('unparsed', 'refused', 'failed', 'unanswered') then panopticon_metadata(result_metadata) ->> 'status'
        when panopticon_metadata(result_metadata) -> 'mode' = '"pairwise"' and panopticon_metadata(result_metadata) ->> 'winner' in ('model', 'opponent', 'tie') then 'scored'
        when panopticon_metadata(result_metadata) -> 'mode' = '"pairwise"' then 'unparsed'
        when score > '-infinity' and score < 'infinity' then 'scored'
        else 'unparsed'
    end = $3
    and score >= $4 and score < 'infinity'
    and score <= $5 and score > '-infinity'
    and "timestamp" >= $6
    and "timestamp" <= $7
order by "timestamp" desc nulls last, id desc
limit $8;
