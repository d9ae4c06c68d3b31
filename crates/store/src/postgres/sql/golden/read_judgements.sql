select query_id, substring(sha256(convert_to(query_text, 'UTF8')) for 16) as query_digest, model_id, theme,
    evaluation_prompt_id, judge_model, score, case
        when metadata ->> 'status' in ('unparsed', 'refused', 'failed', 'unanswered') then metadata ->> 'status'
        when metadata -> 'mode' = '"pairwise"' and metadata ->> 'winner' in ('model', 'opponent', 'tie') then 'scored'
        when metadata -> 'mode' = '"pairwise"' then 'unparsed'
        when score > '-infinity' and score < 'infinity' then 'scored'
        else 'unparsed'
    end as status,
    metadata ->> 'run_id' as run_id, metadata ->> 'repeat' as repeat,
    coalesce(metadata -> 'out_of_range' = 'true', false) as out_of_range,
    coalesce(metadata -> 'mode' = '"pairwise"', false) as is_pairwise,
    metadata ->> 'opponent' as opponent, coalesce(metadata -> 'swapped' = 'true', false) as swapped,
    metadata ->> 'winner' as winner
from (
    select query_id, query_text, model_id, theme, evaluation_prompt_id, judge_model, score, panopticon_metadata(result_metadata) as metadata
    from evaluation_results
where left(panopticon_metadata(result_metadata) ->> 'run_id', 36) = $1
    offset 0
) selected;
