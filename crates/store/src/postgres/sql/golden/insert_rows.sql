insert into "llm_outputs" ("id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "uri", "created_at", "embedding", "migration_run", "migration_digest")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::real[]::vector, $11, $12),
    ($13, $14, $15, $16, $17, $18, $19, $20, $21, $22::real[]::vector, $23, $24);
