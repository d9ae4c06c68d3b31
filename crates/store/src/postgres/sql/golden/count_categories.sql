select case when bytes <= $1 then category end as category, records, bytes
from (
    select category, records, sum(coalesce(octet_length(category), 0)) over () as bytes
    from (select "theme" as category, count(*) as records from "queries" group by "theme") counted
) weighed;
