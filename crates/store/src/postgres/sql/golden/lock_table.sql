lock table "llm_outputs" in share row exclusive mode;
