select id, (embedding <=> $1::real[]::vector)::float8 as distance
from "queries"
where embedding is not null and ($3 = 1024 or (uuid_hash(id) & 1023) < $3)
order by embedding <=> $1::real[]::vector
limit $2;
