select id, source_id, "query_text" as text, "theme", metadata::text as metadata, created_at
from "queries"
where left("theme", 200) = left($1, 200) and (length($1) < 200 or "theme" = $1)
    and (created_at, id) < ($2, $3)
order by created_at desc, id desc
limit $4;
