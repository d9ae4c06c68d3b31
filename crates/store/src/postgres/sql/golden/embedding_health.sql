select
    coalesce(sum(rows), 0)::bigint as rows,
    coalesce(sum(rows) filter (where digest is null), 0)::bigint as missing,
    coalesce(sum(rows) filter (where length = 0), 0)::bigint as zero,
    coalesce(sum(rows) filter (where abs(length - 1) <= 0.001), 0)::bigint as unit,
    min(length) filter (where length > 0) as shortest,
    max(length) filter (where length > 0) as longest,
    coalesce(sum(rows) filter (where length > 0 and least_text <> greatest_text), 0)::bigint as shared
from (
    select digest, count(*) as rows, min(length) as length, min(text) as least_text, max(text) as greatest_text
    from (
        select
            sha256(vector_send(embedding)) as digest,
            vector_norm(embedding) as length,
            hashtextextended(lower(left("output_text", 200)), 0) as text
        from "llm_outputs" tablesample system ($1)
        offset 0
    ) digests
    group by digest
) vectors;
