select id, ((embedding <=> $1::real[]::vector) + 0)::float8 as distance
from "queries"
where embedding is not null and ($3 = 1024 or (uuid_hash(id) & 1023) < $3)
order by (embedding <=> $1::real[]::vector) + 0
limit $2;
