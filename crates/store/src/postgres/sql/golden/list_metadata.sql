select id, source_id, case when bytes <= $3 then "query_text" end as text, "theme", case when bytes <= $3 then metadata::text end as metadata, created_at, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at
        from "queries"
        where metadata @> $1::jsonb
        order by created_at desc, id desc
        limit $2
    ) page
    order by created_at desc, id desc
) weighed
order by created_at desc, id desc;
