with nearest as materialized (
    select id as key, embedding <=> $1::real[]::vector as distance
    from "queries"
    where embedding is not null
        and left("theme", 200) = left($3, 200) and (length($3) < 200 or "theme" = $3)
    order by distance
    limit $2
)
select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at, distance
from nearest
join "queries" on id = key
order by distance, id;
