select id, source_id, is_escaped, left("document"::text, $2::int) as text, null::text as category,
    encode(vector_send(embedding), 'hex') as embedding
from (
    select id as page_id
    from "odd ""name"""
    order by uuid_hash(id), id
    limit $1
) page
join "odd ""name""" on id = page_id
order by uuid_hash(id), id;
