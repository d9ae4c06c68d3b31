create index "new" on "odd ""name""" using hnsw ((embedding::"odd ""schema""".halfvec(3072)) "odd ""schema""".halfvec_l2_ops)
with (m = 16, ef_construction = 64);
