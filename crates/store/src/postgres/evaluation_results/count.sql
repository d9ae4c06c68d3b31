select count(*) as "results!"
from evaluation_results
where ($1::text is null or left(theme, 200) = left($1, 200) and (length($1) < 200 or theme = $1))
    and ($2::text is null or left(model_id, 200) = left($2, 200) and (length($2) < 200 or model_id = $2))
    and ($3::text is null or left(evaluation_prompt_id, 200) = left($3, 200) and (length($3) < 200 or evaluation_prompt_id = $3))
    and ($4::float8 is null or score >= $4)
    and ($5::float8 is null or score <= $5)
    and ($6::timestamp is null or "timestamp" >= $6)
    and ($7::timestamp is null or "timestamp" <= $7)
