//! The model behind a bounded queue, for async callers.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use records::Embedding;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::error::{EmbedError, LoadError};
use crate::model::Model;
use crate::shape::MAX_TOKENS;

/// Tokens, by estimate, that one batch takes from the queue: enough for full packs on a few threads. More would
/// only make those wait who come next.
const BATCH_TOKENS: usize = 4096;

/// Bytes of an English word piece, to estimate tokens without splitting.
const BYTES_OF_TOKEN: usize = 4;

/// Limits of an [`Embedder`].
#[derive(Clone, Copy, Debug)]
pub struct EmbedderConfig {
    /// Texts that may wait. Default 1024. Smaller turns callers away sooner; larger lets them wait longer than
    /// they may care for (1024 short texts are about two seconds on two cores).
    pub queue_texts: NonZeroUsize,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        Self { queue_texts: const { NonZeroUsize::new(1024).unwrap() } }
    }
}

/// Embeds for async callers: a thread takes what waits and runs it as one batch.
///
/// Dropping it ends the thread after the batch it is at.
pub struct Embedder {
    /// `None` only while dropping.
    queue: Option<mpsc::UnboundedSender<Request>>,
    /// A permit for each text that waits; this is what bounds the queue.
    room: Arc<Semaphore>,
    limit: usize,
    worker: Option<JoinHandle<()>>,
    /// How often embedding has panicked. Written by the thread.
    panics: Arc<AtomicU64>,
}

/// How an [`Embedder`]'s thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderState {
    /// How often it was saved from a panic.
    pub restarts: u64,
    /// Why it embeds nothing any more, if it does not.
    pub trouble: Option<String>,
}

struct Request {
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Vec<Embedding>, EmbedError>>,
    /// Returned when the request leaves the queue.
    room: OwnedSemaphorePermit,
}

impl Embedder {
    /// Starts the thread that embeds with `model`.
    ///
    /// # Errors
    ///
    /// When the system refuses the thread.
    pub fn start(model: Arc<Model>, config: EmbedderConfig) -> Result<Self, LoadError> {
        Self::start_with(config, move |texts: &[&str]| model.embed(texts))
    }

    fn start_with(config: EmbedderConfig, embed: impl Embed + Send + 'static) -> Result<Self, LoadError> {
        let limit = config.queue_texts.get().min(Semaphore::MAX_PERMITS);
        let (queue, waiting) = mpsc::unbounded_channel();
        let panics = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&panics);
        let worker = thread::Builder::new()
            .name("embed-queue".to_owned())
            .spawn(move || serve(&embed, waiting, &counted))
            .map_err(|source| LoadError::Threads { source })?;
        let room = Arc::new(Semaphore::new(limit));
        Ok(Self { queue: Some(queue), room, limit, worker: Some(worker), panics })
    }

    /// How its thread is.
    pub fn state(&self) -> EmbedderState {
        let has_ended = self.worker.as_ref().is_none_or(JoinHandle::is_finished);
        EmbedderState {
            restarts: self.panics.load(Ordering::Relaxed),
            trouble: has_ended.then(|| "its thread has ended".to_owned()),
        }
    }

    /// The embeddings of `texts`, in their order; see [`Model::embed`]. Dropping the future withdraws the
    /// request if it still waits.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Overloaded`], at once, when the texts do not fit in the queue now;
    /// [`EmbedError::TooManyTexts`] when they never will; what [`Model::embed`] says.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Embedding>, EmbedError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let limit = self.limit;
        if texts.len() > limit {
            return Err(EmbedError::TooManyTexts { texts: texts.len(), limit });
        }
        let permits =
            u32::try_from(texts.len()).map_err(|_| EmbedError::TooManyTexts { texts: texts.len(), limit })?;
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(permits)
            .map_err(|_| EmbedError::Overloaded { limit })?;
        let (reply, embeddings) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(EmbedError::Stopped)?;
        queue.send(Request { texts, reply, room }).map_err(|_| EmbedError::Stopped)?;
        embeddings.await.map_err(|_| EmbedError::Stopped)?
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(worker) = self.worker.take() {
            // A panic of the worker was reported to its callers as `Stopped`.
            worker.join().ok();
        }
    }
}

/// What embeds texts.
trait Embed: Fn(&[&str]) -> Result<Vec<Embedding>, EmbedError> {}

impl<F: Fn(&[&str]) -> Result<Vec<Embedding>, EmbedError>> Embed for F {}

fn serve(embed: &impl Embed, mut waiting: mpsc::UnboundedReceiver<Request>, panics: &AtomicU64) {
    // A panic is the answer to the requests that it came of, and the thread embeds what comes next.
    let embed = |texts: &[&str]| {
        catch_unwind(AssertUnwindSafe(|| embed(texts))).unwrap_or_else(|panic| {
            panics.fetch_add(1, Ordering::Relaxed);
            Err(EmbedError::Panicked { message: message(&*panic) })
        })
    };
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = Batch::default();
        batch.add(first);
        while batch.tokens < BATCH_TOKENS
            && let Ok(next) = waiting.try_recv()
        {
            batch.add(next);
        }
        batch.run(&embed);
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

/// Requests that are computed together.
#[derive(Default)]
struct Batch {
    texts: Vec<String>,
    callers: Vec<Caller>,
    /// By estimate.
    tokens: usize,
}

/// Who waits for the next `texts` texts of a batch.
struct Caller {
    texts: usize,
    reply: oneshot::Sender<Result<Vec<Embedding>, EmbedError>>,
}

impl Batch {
    /// Takes the request out of the queue, and in unless its caller has gone.
    fn add(&mut self, request: Request) {
        let Request { texts, reply, room } = request;
        drop(room);
        if reply.is_closed() {
            return;
        }
        let tokens = texts.iter().map(|text| (2 + text.len() / BYTES_OF_TOKEN).min(MAX_TOKENS));
        self.tokens += tokens.sum::<usize>();
        self.callers.push(Caller { texts: texts.len(), reply });
        self.texts.extend(texts);
    }

    fn run(self, embed: &impl Embed) {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        match embed(&texts) {
            Ok(embeddings) => {
                let mut embeddings = embeddings.into_iter();
                for caller in self.callers {
                    let own = embeddings.by_ref().take(caller.texts).collect();
                    caller.answer(Ok(own));
                }
            }
            // Somebody's text was refused, or panicked: each caller gets the answer to his own request.
            Err(_) => {
                let mut start = 0;
                for caller in self.callers {
                    let end = start + caller.texts;
                    caller.answer(embed(&texts[start..end]));
                    start = end;
                }
            }
        }
    }
}

impl Caller {
    fn answer(self, answer: Result<Vec<Embedding>, EmbedError>) {
        // The caller may have gone meanwhile; then nobody wants the answer.
        self.reply.send(answer).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_is_the_answer_to_its_own_request_and_the_thread_lives_on() {
        let embedder = Embedder::start_with(EmbedderConfig::default(), |texts: &[&str]| {
            assert!(!texts.contains(&"poison"), "a poisonous text");
            Ok(texts.iter().map(|text| vec![text.len() as f32].into()).collect())
        });
        let embedder = embedder.expect("the thread starts");
        for _ in 0..3 {
            let embed = |text: &str| embedder.embed(vec![text.to_owned()]);
            let (before, poisoned, after) = tokio::join!(embed("a"), embed("poison"), embed("abc"));
            assert_eq!(before.expect("it is embedded")[0].as_slice(), [1.0]);
            assert_eq!(after.expect("it is embedded")[0].as_slice(), [3.0]);
            let error = poisoned.expect_err("it panics").to_string();
            assert_eq!(error, "embedding the texts panicked: a poisonous text");
        }
        let EmbedderState { restarts, trouble } = embedder.state();
        assert!(restarts >= 3 && trouble.is_none(), "{restarts} {trouble:?}");
    }
}
