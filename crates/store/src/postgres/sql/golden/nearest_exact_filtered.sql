with nearest as materialized (
    select id as key, distance, count(*) over () as matching
    from (
        select id, (embedding <=> $1::real[]::vector) + 0 as distance
        from "queries"
        where embedding is not null
            and left("theme", 200) = left($4, 200) and (length($4) < 200 or "theme" = $4)
        limit $3
    ) measured
    order by distance, id
    limit $2
)
select id, source_id, case when bytes <= $5 then "query_text" end as text, "theme", case when bytes <= $5 then metadata::text end as metadata, created_at, distance, matching, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at, distance, matching
        from nearest
        join "queries" on id = key
        order by distance, id
    ) page
    order by distance, id
) weighed
order by distance, id;
