select exists (
    select
    from "odd ""name"""
    where vector_norm(embedding) > 65504
        and exists (select from unnest(embedding::real[]) component where abs(component) >= 65520)
);
