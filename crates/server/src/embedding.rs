//! The embedding model and its queue.

use std::sync::Arc;

use embed::{Embedder, EmbedderState, Model, Tokens};
use records::Embedding;

use crate::{answer::ApiError, process::Process, supervisor::TaskState};

/// The model reads fewer bytes of most texts.
const LONG_BYTES: usize = 8 << 10;

/// The embedding model that all services of a process share.
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
        let texts = texts.into_iter().map(|text| self.truncated_to_model_input(text)).collect();
        Ok(process.observer().embedding(&self.queue, texts).await?)
    }

    /// The same on this thread, without the queue: for an examination, which is rare.
    pub(crate) fn embed_now(
        &self,
        texts: &[&str],
    ) -> Result<Vec<Embedding>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.model.embed(texts)?)
    }

    /// A prefix of `text` with the same embedding. The request truncates its own text: in the queue, texts of
    /// megabytes would take memory and delay others while they are tokenized.
    fn truncated_to_model_input(&self, text: String) -> String {
        if text.len() <= LONG_BYTES { text } else { self.model.beginning(&text) }
    }

    /// The state of the embedding thread.
    pub fn state(&self) -> TaskState {
        let EmbedderState { restarts, problem } = self.queue.state();
        TaskState { restarts, problem }
    }

    /// The tokens of `text` that the model reads.
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
