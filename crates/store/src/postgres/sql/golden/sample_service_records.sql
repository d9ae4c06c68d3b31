select id, source_id, null::boolean as is_escaped, left("query_text"::text, $2::int) as text, left("theme"::text, $2::int) as category,
    encode(vector_send(embedding), 'hex') as embedding
from (
    select id as page_id
    from "queries"
    order by uuid_hash(id), id
    limit $1
) page
join "queries" on id = page_id
order by uuid_hash(id), id;
