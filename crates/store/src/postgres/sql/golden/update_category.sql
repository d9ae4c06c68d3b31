update "llm_outputs"
set "theme" = $2,
    metadata = case
        when jsonb_typeof(metadata) = 'object' and metadata ? 'theme' then metadata || $3::jsonb
        else metadata
    end
where id = $1
returning id, source_id, "output_text" as text, "theme", "model_id", "query", metadata::text as metadata, created_at;
