copy "llm_outputs" ("id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "created_at", "embedding") from stdin with (format binary);
