select id, source_id, case when bytes <= $5 then "query_text" end as text, "theme", case when bytes <= $5 then metadata::text end as metadata, created_at, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at
        from "queries"
        where (metadata @> $1::jsonb or (metadata -> $3) is null and left("theme", 200) = left($2, 200) and (length($2) < 200 or "theme" = $2))
        order by created_at desc, id desc
        limit $4
    ) page
    order by created_at desc, id desc
) weighed
order by created_at desc, id desc;
