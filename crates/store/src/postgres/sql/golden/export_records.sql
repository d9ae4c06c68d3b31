select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at, page_rows
from (
    select *, count(*) over () as page_rows, row_number() over ordered as place,
        sum(coalesce(octet_length("query_text"), 0) + coalesce(pg_column_size(metadata), 0)) over (ordered rows unbounded preceding) as bytes
    from (
        select id, source_id, "query_text", "theme", metadata, created_at
        from "queries"
        where (created_at, id) < ($1, $2)
        order by created_at desc, id desc
        limit $3
    ) page
    window ordered as (order by created_at desc, id desc)
    order by created_at desc, id desc
) weighed
where bytes <= $4 or place = 1
order by created_at desc, id desc;
