select id, distance, matching
from (
    select id, position, created_at, embedding <=> $1::real[]::vector as distance, count(*) over () as matching
    from (
        select id, position, created_at, embedding
        from "odd ""name"""
        where id = any($2)
            and (((metadata -> $3) > $4::jsonb and jsonb_typeof((metadata -> $3)) = 'number') or ((metadata -> $5) = any($6::jsonb[])) is not true or true or (strpos("document", $7) = 0) is not false)
            and embedding is not null
        limit $8
    ) matches
) measured
order by case when distance = 'NaN' then 1 else distance end, position nulls first, created_at, id
limit $9;
