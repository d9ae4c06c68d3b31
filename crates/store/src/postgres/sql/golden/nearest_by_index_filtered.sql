select id, source_id, case when bytes <= $4 then "query_text" end as text, "theme", case when bytes <= $4 then metadata::text end as metadata, created_at, distance, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at, distance
        from (
            select id, source_id, "query_text", "theme", metadata, created_at, embedding <=> $1::real[]::vector as distance
            from "queries"
            where embedding is not null
                and left("theme", 200) = left($3, 200) and (length($3) < 200 or "theme" = $3)
            order by distance
            limit $2
        ) nearest
        order by distance, id
    ) page
    order by distance, id
) weighed
order by distance, id;
