select exists (select 1 from "llm_outputs" where migration_run is distinct from $1);
