create index on "odd ""name""" using ivfflat ((embedding::halfvec(3072)) halfvec_l2_ops)
with (lists = 20);
