copy (
    select "id", "source_id", "query_text", "theme", "metadata", "uri", "created_at", "embedding", "migration_run", "migration_digest"
    from "queries"
    where id = any('{00000000-0000-0000-0000-000000000001,00000000-0000-0000-0000-000000000002}'::uuid[])
) to stdout with (format binary);
