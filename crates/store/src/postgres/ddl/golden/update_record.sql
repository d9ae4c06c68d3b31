update "llm_outputs"
set "output_text" = coalesce($2, "output_text"),
    embedding = coalesce($3::real[]::vector, embedding),
    "theme" = coalesce($4, "theme"),
    metadata = coalesce($5::jsonb, metadata)
where id = $1;
