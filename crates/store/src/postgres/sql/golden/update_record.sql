update "llm_outputs"
set "output_text" = $2,
    embedding = $3::real[]::vector,
    "theme" = $4,
    metadata = $6::jsonb || coalesce((
        select jsonb_object_agg(key, value)
        from jsonb_each(case when jsonb_typeof(metadata) = 'object' then metadata end)
        where key = any($7)
    ), '{}') || $5::jsonb
where id = $1
returning id, source_id, "output_text" as text, "theme", "model_id", "query", metadata::text as metadata, created_at;
