explain (format json)
select 1 from "queries"
where embedding is not null
    and left("theme", 200) = left($1, 200) and (length($1) < 200 or "theme" = $1);
