with nearest as materialized (
    select id as key, (embedding <=> $1::real[]::vector) + 0 as distance
    from "queries"
    where embedding is not null
    order by distance, id
    limit $2
)
select id, source_id, case when bytes <= $3 then "query_text" end as text, "theme", case when bytes <= $3 then metadata::text end as metadata, created_at, distance, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at, distance
        from nearest
        join "queries" on id = key
        order by distance, id
    ) page
    order by distance, id
) weighed
order by distance, id;
