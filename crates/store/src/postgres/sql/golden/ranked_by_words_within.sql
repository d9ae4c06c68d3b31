with ranked as materialized (
    select id as key, ts_rank_cd(to_tsvector('pg_catalog.english', left("query_text", 65536)), websearch_to_tsquery('pg_catalog.english', $1))::float8 as score, embedding <=> $3::real[]::vector as distance
    from "queries"
    where to_tsvector('pg_catalog.english', left("query_text", 65536)) @@ websearch_to_tsquery('pg_catalog.english', $1)
        and embedding <=> $3::real[]::vector <= $4
    order by score desc, id
    limit $2
)
select id, source_id, case when bytes <= $5 then "query_text" end as text, "theme", case when bytes <= $5 then metadata::text end as metadata, created_at, distance, score, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at, distance, score
        from ranked
        join "queries" on id = key
        order by score desc, id
    ) page
    order by score desc, id
) weighed
order by score desc, id;
