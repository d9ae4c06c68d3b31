select 1 from "llm_outputs" where id = any($1) order by id for update;
