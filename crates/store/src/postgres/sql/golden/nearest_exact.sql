with nearest as materialized (
    select id as key, distance
    from (
        select id, embedding <=> $1::real[]::vector as distance
        from "queries"
        where embedding is not null
        limit $3
    ) measured
    order by distance, id
    limit $2
)
select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at, nearest.*
from nearest
join "queries" on id = key
order by distance, id;
