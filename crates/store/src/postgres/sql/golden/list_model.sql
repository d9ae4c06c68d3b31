select id, source_id, case when bytes <= $3 then "output_text" end as text, "theme", "model_id", "query", case when bytes <= $3 then metadata::text end as metadata, created_at, bytes
from (
    select *, sum(coalesce(octet_length("output_text"), 0) + coalesce(pg_column_size(metadata), 0)) over () as bytes
    from (
        select id, source_id, "output_text", "theme", "model_id", "query", metadata, created_at
        from "llm_outputs"
        where left("model_id", 200) = left($1, 200) and (length($1) < 200 or "model_id" = $1)
        order by created_at desc, id desc
        limit $2
    ) page
    order by created_at desc, id desc
) weighed
order by created_at desc, id desc;
