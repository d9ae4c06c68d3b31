with ranked as materialized (
    select id as key, ts_rank_cd(to_tsvector('pg_catalog.english', left("query_text", 65536)), websearch_to_tsquery('pg_catalog.english', $1))::float8 as score, embedding <=> $3::real[]::vector as distance
    from "queries"
    where to_tsvector('pg_catalog.english', left("query_text", 65536)) @@ websearch_to_tsquery('pg_catalog.english', $1)
        and embedding <=> $3::real[]::vector <= $4
    order by score desc, id
    limit $2
)
select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at, distance, score
from ranked
join "queries" on id = key
order by score desc, id;
