create index "new" on "odd ""name""" using hnsw ((embedding::halfvec(3072)) halfvec_l2_ops)
with (m = 16, ef_construction = 64);
