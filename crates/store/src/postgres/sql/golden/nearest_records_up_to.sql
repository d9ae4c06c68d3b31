with panopticon_nearest (hit, hit_distance, hit_matching) as materialized (
select id, distance, matching
from (
    select id, position, created_at, embedding <=> $1::real[]::vector as distance, count(*) over () as matching
    from (
        select id, position, created_at, embedding
        from "odd ""name"""
        where (((metadata -> $2) > $3::jsonb and jsonb_typeof((metadata -> $2)) = 'number') or ((metadata -> $4) = any($5::jsonb[])) is not true or true or (strpos("document", $6) = 0) is not false)
            and embedding is not null
        limit $7
    ) matches
) measured
order by case when distance = 'NaN' then 1 else distance end, position nulls first, created_at, id
limit $8
)
select id, source_id, is_escaped, "document" as text, metadata::text as metadata, uri is not null as has_uri, uri, encode(vector_send(embedding), 'hex') as embedding, 0::bigint as search, panopticon_nearest.hit_distance as distance, panopticon_nearest.hit_matching as matching
from panopticon_nearest
join "odd ""name""" on id = panopticon_nearest.hit
order by case when panopticon_nearest.hit_distance = 'NaN' then 1 else panopticon_nearest.hit_distance end, position nulls first, created_at, id;
