//! The storage that a service was configured to use. There is no other that it falls back to.

use std::sync::Arc;

use records::Service;

use crate::{
    chroma::{ChromaStorage, ServerOptions},
    postgres::{Database, PostgresStorage},
    storage::{Storage, StorageError},
};

/// Where a service keeps its records.
#[derive(Clone, Debug)]
pub enum StorageConfig {
    /// In a PostgreSQL database, whose connections services may share.
    Postgres(Database),
    /// In a collection of a Chroma server.
    Chroma(ServerOptions),
}

/// Opens the storage of `service`, and makes what it lacks: table and indexes, or the collection.
///
/// # Errors
/// [`StorageError::Unavailable`] when the store does not answer, else why it cannot be used.
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
