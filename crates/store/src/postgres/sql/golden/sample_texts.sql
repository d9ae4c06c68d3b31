select "output_text", embedding::real[]
from "llm_outputs" tablesample system ($1) repeatable (7)
where "output_text" is not null and embedding is not null
order by uuid_hash(id)
limit $2;
