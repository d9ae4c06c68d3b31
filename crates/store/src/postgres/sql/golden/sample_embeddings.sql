select id, embedding::real[]
from "odd ""name""" tablesample bernoulli ($1) repeatable ($2)
where embedding is not null
order by uuid_hash(id)
limit $3;
