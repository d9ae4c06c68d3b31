update "odd ""name""" kept
set "document" = given.text,
    metadata = given.metadata::jsonb,
    uri = given.uri,
    "published" = given.column_0::bigint,
    is_escaped = given.is_escaped::boolean,
    embedding = case when given.place is null then kept.embedding else ($8::real[])[given.place::int * 2 + 1 : (given.place::int + 1) * 2]::vector end
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) as given (id, text, metadata, uri, column_0, is_escaped, place)
where kept.id = given.id;
