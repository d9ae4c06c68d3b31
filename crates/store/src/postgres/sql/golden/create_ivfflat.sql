create index concurrently "new" on "queries" using ivfflat (embedding vector_cosine_ops)
with (lists = 20);
