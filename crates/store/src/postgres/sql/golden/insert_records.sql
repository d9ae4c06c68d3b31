insert into "llm_outputs" ("id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "created_at", "embedding")
select "id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "created_at",
    ($9::real[])[(position::int - 1) * 384 + 1 : position::int * 384]::vector
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]::jsonb[], $8::timestamp[]) with ordinality as given ("id", "source_id", "output_text", "theme", "model_id", "query", "metadata", "created_at", position)
on conflict (id) do nothing
returning id;
