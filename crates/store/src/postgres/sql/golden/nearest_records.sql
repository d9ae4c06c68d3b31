with panopticon_nearest (hit, hit_distance) as materialized (
select id, distance
from (
    select id, position, created_at, embedding <=> $1::real[]::vector as distance
    from (
        select id, position, created_at, embedding
        from "odd ""name"""
        where embedding is not null
    ) matches
) measured
order by case when distance = 'NaN' then 1 else distance end, position nulls first, created_at, id
limit $2
)
select id, source_id, is_escaped, "document" as text, metadata::text as metadata, uri is not null as has_uri, uri, encode(vector_send(embedding), 'hex') as embedding, 3::bigint as search, panopticon_nearest.hit_distance as distance
from panopticon_nearest
join "odd ""name""" on id = panopticon_nearest.hit
order by case when panopticon_nearest.hit_distance = 'NaN' then 1 else panopticon_nearest.hit_distance end, position nulls first, created_at, id;
