select create_distributed_table_concurrently('"it''s ""odd"""', 'id', shard_count := 4);
select truncate_local_data_after_distributing_table('"it''s ""odd"""');
select undistribute_table('"it''s ""odd"""');
