create index concurrently on "queries" using ivfflat (embedding vector_cosine_ops)
with (lists = 20);
