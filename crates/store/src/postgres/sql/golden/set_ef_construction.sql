alter index "odd ""name""" set (ef_construction = 64);
