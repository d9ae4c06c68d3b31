select id, (embedding <-> $1::real[]::vector)::float8 as distance
from "odd ""name"""
where embedding is not null and migration_run = any($3)
order by embedding::halfvec(3072) <-> $1::real[]::halfvec(3072)
limit $2;
