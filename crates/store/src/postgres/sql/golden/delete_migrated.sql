delete from "llm_outputs" where migration_run = $1 and not (id = any($2));
