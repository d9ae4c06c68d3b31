//! Opens the configured storage of a service. There is no fallback.

use std::sync::Arc;

use records::Service;

use crate::{
    chroma::{ChromaStorage, ServerOptions},
    postgres::{Database, PostgresStorage},
    storage::{Storage, StorageError},
};

/// Where a service stores its records.
#[derive(Clone, Debug)]
pub enum StorageConfig {
    /// In a PostgreSQL database; services may share its connections.
    Postgres(Database),
    /// In a collection of a Chroma server.
    Chroma(ServerOptions),
}

/// Opens the storage of `service`, and creates missing tables and indexes, or the collection.
///
/// # Errors
/// [`StorageError::Unavailable`] when the store is unavailable, else the reason why it cannot be used.
pub async fn open_storage(
    service: Service,
    config: &StorageConfig,
) -> Result<Arc<dyn Storage>, StorageError> {
    Ok(match config {
        StorageConfig::Postgres(database) => {
            Arc::new(PostgresStorage::open(database.clone(), service).await?)
        }
        StorageConfig::Chroma(options) => Arc::new(ChromaStorage::open(service, options).await?),
    })
}
