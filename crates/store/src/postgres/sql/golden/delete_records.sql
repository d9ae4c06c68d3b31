delete from "llm_outputs" kept
using unnest($1::uuid[], $2::text[]) as asked (id, shown)
where kept.id = asked.id and coalesce(kept.source_id, kept.id::text) = asked.shown
returning asked.shown;
