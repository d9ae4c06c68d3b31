copy "odd ""name""" ("id", "source_id", "document", "published", "metadata", "uri", "created_at", "embedding", "migration_run", "migration_digest", "position") from stdin with (format binary);
