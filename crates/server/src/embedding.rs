//! The model, with its queue.

use std::sync::Arc;

use embed::{Embedder, EmbedderState, Model, Tokens};
use records::Embedding;

use crate::{answer::ApiError, process::Process, supervisor::TaskState};

/// The model sees no more of most texts.
const LONG_BYTES: usize = 8 << 10;

/// Embeds for all services of a process.
#[derive(Clone)]
pub struct EmbeddingModel {
    model: Arc<Model>,
    queue: Arc<Embedder>,
}

impl EmbeddingModel {
    /// `queue` embeds with `model`.
    pub fn new(model: Arc<Model>, queue: Embedder) -> Self {
        Self { model, queue: Arc::new(queue) }
    }

    /// The queue.
    pub fn embedder(&self) -> &Arc<Embedder> {
        &self.queue
    }

    /// The embeddings of `texts`, in their order, by one call.
    pub(crate) async fn embed(
        &self,
        texts: Vec<String>,
        process: &Process,
    ) -> Result<Vec<Embedding>, ApiError> {
        let texts = texts.into_iter().map(|text| self.without_its_end(text)).collect();
        Ok(process.observer().embedding(&self.queue, texts).await?)
    }

    /// A text that is embedded alike. Those of megabytes are cut by whoever sends them: in the queue they would take memory,
    /// and others would wait while they are gone through.
    fn without_its_end(&self, text: String) -> String {
        if text.len() <= LONG_BYTES { text } else { self.model.beginning(&text) }
    }

    /// How the thread is that embeds.
    pub fn state(&self) -> TaskState {
        let EmbedderState { restarts, trouble } = self.queue.state();
        TaskState { restarts, trouble }
    }

    /// What the model sees of `text`.
    pub(crate) async fn tokenize(&self, text: String) -> Result<Tokens, ApiError> {
        let model = Arc::clone(&self.model);
        let tokens = tokio::task::spawn_blocking(move || model.tokenize(&text)).await;
        Ok(tokens.map_err(|error| ApiError::Panic { message: error.to_string() })??)
    }
}

impl std::fmt::Debug for EmbeddingModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddingModel").finish_non_exhaustive()
    }
}
