select exists (select from "llm_outputs" where migration_run is distinct from $1);
