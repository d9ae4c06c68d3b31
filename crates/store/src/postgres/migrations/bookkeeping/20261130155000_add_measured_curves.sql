-- curve  every candidate count that the last measurement tried, to see what the chosen one costs: an array of objects with
--        candidates, recall, recall_low, latency_ms and sampled; null of settings from before

alter table vector_index_settings add column curve jsonb;
