select id, source_id, case when bytes <= $2 then "query_text" end as text, "theme", case when bytes <= $2 then metadata::text end as metadata, created_at, bytes
from (
    select *, sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at
        from "queries"
        where id = any($1)
    ) page
    order by id
) weighed
order by id;
