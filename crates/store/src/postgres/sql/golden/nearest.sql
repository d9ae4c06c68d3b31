select (embedding <-> $1::real[]::vector)::float8 as distance
from "odd ""name"""
where embedding is not null
order by embedding::halfvec(3072) <-> $1::real[]::halfvec(3072)
limit $2;
