copy (
    select id, migration_run
    from "llm_outputs"
    where (migration_run = any('{00000000-0000-0000-0000-000000000001,00000000-0000-0000-0000-000000000002}'::uuid[])) is not true
) to stdout with (format binary);
