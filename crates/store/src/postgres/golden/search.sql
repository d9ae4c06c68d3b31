with nearest as materialized (
    select id, source_id, "query_text", "theme", metadata, created_at,
        embedding <=> $1::real[]::vector as distance
    from "queries"
    where embedding is not null
    order by embedding <=> $1::real[]::vector
    limit $2
)
select id, source_id, "query_text" as text, "theme" as category, metadata::text as metadata, created_at, distance
from nearest
order by distance, id;
