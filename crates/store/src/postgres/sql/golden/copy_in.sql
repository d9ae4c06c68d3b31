copy "llm_outputs" ("id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "uri", "created_at", "embedding", "migration_run", "migration_digest") from stdin with (format binary);
