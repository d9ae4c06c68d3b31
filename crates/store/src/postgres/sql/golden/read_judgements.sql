select case when octet_length(query_id) > 4096 then left(query_id, 100) || '… [' || octet_length(query_id) || ' bytes, SHA-256 ' || encode(sha256(convert_to(query_id, 'UTF8')), 'hex') || ']' else query_id end as query_id,
    substring(sha256(convert_to(query_text, 'UTF8')) for 16) as query_digest,
    case when octet_length(model_id) > 4096 then left(model_id, 100) || '… [' || octet_length(model_id) || ' bytes, SHA-256 ' || encode(sha256(convert_to(model_id, 'UTF8')), 'hex') || ']' else model_id end as model_id,
    case when octet_length(theme) > 4096 then left(theme, 100) || '… [' || octet_length(theme) || ' bytes, SHA-256 ' || encode(sha256(convert_to(theme, 'UTF8')), 'hex') || ']' else theme end as theme,
    case when octet_length(evaluation_prompt_id) > 4096 then left(evaluation_prompt_id, 100) || '… [' || octet_length(evaluation_prompt_id) || ' bytes, SHA-256 ' || encode(sha256(convert_to(evaluation_prompt_id, 'UTF8')), 'hex') || ']' else evaluation_prompt_id end as evaluation_prompt_id,
    case when octet_length(judge_model) > 4096 then left(judge_model, 100) || '… [' || octet_length(judge_model) || ' bytes, SHA-256 ' || encode(sha256(convert_to(judge_model, 'UTF8')), 'hex') || ']' else judge_model end as judge_model,
    score, case
        when metadata ->> 'status' in ('unparsed', 'refused', 'failed', 'unanswered') then metadata ->> 'status'
        when metadata -> 'mode' = '"pairwise"' and metadata ->> 'winner' in ('model', 'opponent', 'tie') then 'scored'
        when metadata -> 'mode' = '"pairwise"' then 'unparsed'
        when score > '-infinity' and score < 'infinity' then 'scored'
        else 'unparsed'
    end as status,
    case when octet_length((metadata ->> 'run_id')) > 4096 then left((metadata ->> 'run_id'), 100) || '… [' || octet_length((metadata ->> 'run_id')) || ' bytes, SHA-256 ' || encode(sha256(convert_to((metadata ->> 'run_id'), 'UTF8')), 'hex') || ']' else (metadata ->> 'run_id') end as run_id,
    case when octet_length((metadata ->> 'repeat')) > 4096 then left((metadata ->> 'repeat'), 100) || '… [' || octet_length((metadata ->> 'repeat')) || ' bytes, SHA-256 ' || encode(sha256(convert_to((metadata ->> 'repeat'), 'UTF8')), 'hex') || ']' else (metadata ->> 'repeat') end as repeat,
    coalesce(metadata -> 'out_of_range' = 'true', false) as out_of_range,
    coalesce(metadata -> 'mode' = '"pairwise"', false) as is_pairwise,
    case when octet_length((metadata ->> 'opponent')) > 4096 then left((metadata ->> 'opponent'), 100) || '… [' || octet_length((metadata ->> 'opponent')) || ' bytes, SHA-256 ' || encode(sha256(convert_to((metadata ->> 'opponent'), 'UTF8')), 'hex') || ']' else (metadata ->> 'opponent') end as opponent,
    coalesce(metadata -> 'swapped' = 'true', false) as swapped,
    metadata ->> 'winner' as winner,
    "timestamp"
from (
    select query_id, query_text, model_id, theme, evaluation_prompt_id, judge_model, score, "timestamp",
        panopticon_metadata(result_metadata) as metadata
    from evaluation_results
where left(panopticon_metadata(result_metadata) ->> 'run_id', 36) = $1
    offset 0
) selected;
