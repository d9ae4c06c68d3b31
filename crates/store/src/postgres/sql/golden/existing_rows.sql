select id from "llm_outputs" where id = any($1);
