create index concurrently "queries_embedding_ivfflat_20"
on "queries" using ivfflat (embedding vector_cosine_ops)
with (lists = 20);
