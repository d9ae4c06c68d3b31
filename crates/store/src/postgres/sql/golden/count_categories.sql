select "theme" as category, count(*) as records
from "queries"
group by "theme"
order by "theme" collate "C";
