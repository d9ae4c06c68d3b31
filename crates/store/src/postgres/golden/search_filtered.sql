with nearest as materialized (
    select id, source_id, "output_text", "theme", "model_id", "query", metadata, created_at,
        embedding <=> $1::real[]::vector as distance
    from "llm_outputs"
    where embedding is not null
        and "theme" = $3
        and "model_id" = $4
    order by embedding <=> $1::real[]::vector
    limit $2
)
select id, source_id, "output_text" as text, "theme" as category, metadata::text as metadata, created_at, distance
from nearest
order by distance, id;
