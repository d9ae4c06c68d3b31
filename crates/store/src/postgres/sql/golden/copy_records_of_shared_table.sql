copy "odd ""name""" ("id", "source_id", "document", "of", "published", "metadata", "uri", "created_at", "embedding", "is_escaped") from stdin with (format binary);
