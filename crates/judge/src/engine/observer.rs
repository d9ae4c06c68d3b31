//! Operations of storages and of the embedding model, for metrics and traces.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use embed::{EmbedError, Embedder};
use records::{Embedding, Service};
use store::storage::StorageError;
use tracing::Instrument as _;

/// A finished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Of a storage.
    Storage {
        /// Whose storage.
        service: Service,
        /// The operation's name.
        operation: &'static str,
        /// Whether the storage failed. A refusal is not a failure.
        has_failed: bool,
        /// How long it took.
        took: Duration,
    },
    /// Of the embedding model, with the wait in its queue.
    Embedding {
        /// How many texts.
        texts: usize,
        /// How long it took.
        took: Duration,
    },
}

/// A callback for every operation. Cheap to clone; the default does nothing.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Observation) + Send + Sync>);

impl Observer {
    /// Calls `observe` after each operation.
    pub fn new(observe: impl Fn(Observation) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    /// Runs an `operation` of the storage of `service`.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn storage<T>(
        &self,
        service: Service,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let began = Instant::now();
        let span = tracing::info_span!("storage", storage.service = %service, storage.operation = operation);
        let result = work.instrument(span).await;
        let has_failed =
            matches!(result, Err(StorageError::Unavailable { .. } | StorageError::Failed { .. }));
        (self.0)(Observation::Storage { service, operation, has_failed, took: began.elapsed() });
        result
    }

    /// Embeds `texts`: the embeddings in their order.
    ///
    /// # Errors
    /// Those of [`Embedder::embed`].
    pub async fn embedding(
        &self,
        embedder: &Embedder,
        texts: Vec<String>,
    ) -> Result<Vec<Embedding>, EmbedError> {
        let (count, began) = (texts.len(), Instant::now());
        let span = tracing::info_span!("embed", embed.texts = count);
        let embeddings = embedder.embed(texts).instrument(span).await?;
        (self.0)(Observation::Embedding { texts: count, took: began.elapsed() });
        Ok(embeddings)
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
