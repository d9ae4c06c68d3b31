with panopticon_nearest (hit, hit_distance) as materialized (
with nearest as materialized (
    select id, position, created_at, embedding <=> $1::real[]::vector as distance
    from "odd ""name"""
    where embedding is not null
    order by distance
    limit $2
)
select id, distance
from nearest
order by distance, position nulls first, created_at, id
limit $3
)
select id, source_id, is_escaped, "document" as text, metadata::text as metadata, uri is not null as has_uri, uri, encode(vector_send(embedding), 'hex') as embedding, 0::bigint as search, panopticon_nearest.hit_distance as distance
from panopticon_nearest
join "odd ""name""" on id = panopticon_nearest.hit
order by panopticon_nearest.hit_distance, position nulls first, created_at, id;
