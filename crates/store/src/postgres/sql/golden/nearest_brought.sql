select id, (embedding <-> $1::real[]::vector)::float8 as distance
from "odd ""name"""
where migration_run = any($3)
order by embedding <-> $1::real[]::vector
limit $2;
