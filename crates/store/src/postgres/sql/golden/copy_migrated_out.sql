copy (
    select "id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "uri", "created_at", "embedding", "migration_run", "migration_digest"
    from "llm_outputs"
    where migration_run = any('{00000000-0000-0000-0000-000000000001,00000000-0000-0000-0000-000000000002}'::uuid[])
) to stdout with (format binary);
