select exists (
    select 1
    from "odd ""name"""
    where (
            vector_norm(embedding) > 65504
            and exists (select 1 from unnest(embedding::real[]) component where abs(component) >= 65520)
        )
        or (
            (vector_norm(embedding) / 0.00006103515625::float8) ^ 2 < vector_dims(embedding)
            and (vector_norm(embedding) / 0.00006103515625::float8) ^ 2 < (
                select count(*)
                from unnest(embedding::real[]) component
                where component <> 0 and abs(component) < 0.00006103515625::float8
            )
        )
);
