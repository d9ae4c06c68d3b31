select id, source_id, case when bytes <= $5 then "query_text" end as text, "theme", case when bytes <= $5 then metadata::text end as metadata, created_at, distance, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at, distance
        from (
            select id, source_id, "query_text", "theme", metadata, created_at, embedding <=> $1::real[]::vector as distance
            from "queries"
            where embedding is not null
                and left("theme", 200) = left($4, 200) and (length($4) < 200 or "theme" = $4)
            order by embedding::halfvec(384) <=> $1::real[]::halfvec(384)
            limit $2
        ) nearest
        order by distance, id
        limit $3
    ) page
    order by distance, id
) weighed
order by distance, id;
