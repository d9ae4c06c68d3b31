delete from "llm_outputs" where id = any($1);
