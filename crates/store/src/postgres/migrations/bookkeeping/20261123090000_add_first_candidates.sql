-- first_candidates  candidates that met the same target when this build was measured first: where many more are needed
--                   since, the lists or the graph no longer fit the rows; null of settings from before

alter table vector_index_settings add column first_candidates integer;
