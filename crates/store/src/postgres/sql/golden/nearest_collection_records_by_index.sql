with nearest as materialized (
    select id, position, created_at, embedding <=> $1::real[]::vector as distance
    from "odd ""name"""
    where embedding is not null
    order by embedding::halfvec(2) <=> $1::real[]::halfvec(2)
    limit $2
)
select id, distance
from nearest
order by distance, position nulls first, created_at, id
limit $3;
