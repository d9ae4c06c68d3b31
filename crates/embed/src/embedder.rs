//! The model behind a bounded queue, for async callers.

use std::any::Any;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use records::Embedding;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::error::{EmbedError, LoadError};
use crate::model::Model;
use crate::priority::lower_priority;
use crate::shape::MAX_TOKENS;

/// Estimated tokens that one batch takes from the queue: enough for full packs on a few threads. More would only delay the
/// next requests.
const BATCH_TOKENS: usize = 4096;

/// Requests of up to this many texts precede larger ones: searches and single records, which take milliseconds, would
/// otherwise wait for a batch of records, which may take a minute.
const FEW_TEXTS: usize = 16;

/// Requests of up to this many bytes, such as most searches, have a separate thread. They take milliseconds, while a text of
/// 256 word pieces takes ten times as long, and there may be many.
const SHORT_BYTES: usize = 128;

/// Average bytes of an English word piece, to estimate tokens without splitting.
const BYTES_OF_TOKEN: usize = 4;

/// Limits of an [`Embedder`].
#[derive(Clone, Copy, Debug)]
pub struct EmbedderConfig {
    /// Maximum waiting texts, separately for small and for large requests. Default 1024. Smaller rejects requests sooner;
    /// larger makes them wait longer (1024 short texts take about two seconds on two cores).
    pub queue_texts: NonZeroUsize,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        Self { queue_texts: const { NonZeroUsize::new(1024).unwrap() } }
    }
}

/// Embeds for async callers: a thread takes the waiting texts and embeds them as one batch. A large request is divided over
/// many batches, of which it gets at least half, so that small requests do not wait for all of it. Short requests have a
/// separate thread; the other thread has a lower priority.
///
/// Dropping it ends the threads after their current batches.
pub struct Embedder {
    short: Queue,
    others: Queue,
    /// A permit for each waiting text, which bounds the queue.
    permits_for_few: Arc<Semaphore>,
    permits_for_many: Arc<Semaphore>,
    limit: usize,
    /// Number of panics. Written by the threads.
    panics: Arc<AtomicU64>,
}

/// Requests, and the thread that processes them.
struct Queue {
    /// `None` only while dropping.
    requests: Option<mpsc::UnboundedSender<Request>>,
    worker: Option<JoinHandle<()>>,
}

/// The state of the threads of an [`Embedder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderState {
    /// Number of panics that were caught.
    pub restarts: u64,
    /// Why texts are no longer embedded, if they are not.
    pub problem: Option<String>,
}

struct Request {
    /// Texts without an embedding yet.
    texts: VecDeque<String>,
    embeddings: Vec<Embedding>,
    reply: oneshot::Sender<Result<Vec<Embedding>, EmbedError>>,
    /// Returned when the first text leaves the queue.
    permit: Option<OwnedSemaphorePermit>,
}

impl Embedder {
    /// Starts the threads that embed with `model`.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn start(model: Arc<Model>, config: EmbedderConfig) -> Result<Self, LoadError> {
        let patient = Arc::clone(&model);
        Self::start_with(
            config,
            move |texts: &[&str]| model.embed(texts),
            move |texts: &[&str]| patient.embed_patiently(texts),
        )
    }

    fn start_with(
        config: EmbedderConfig,
        embed: impl Embed + Send + 'static,
        embed_patiently: impl Embed + Send + 'static,
    ) -> Result<Self, LoadError> {
        let limit = config.queue_texts.get().min(Semaphore::MAX_PERMITS);
        let panics = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&panics);
        let short = Queue::start("embed-short", move |waiting| serve(&embed, waiting, &counted))?;
        let counted = Arc::clone(&panics);
        let others = Queue::start("embed-queue", move |waiting| {
            lower_priority();
            serve(&embed_patiently, waiting, &counted);
        })?;
        let [permits_for_few, permits_for_many] = [(); 2].map(|()| Arc::new(Semaphore::new(limit)));
        Ok(Self { short, others, permits_for_few, permits_for_many, limit, panics })
    }

    /// The state of its threads.
    pub fn state(&self) -> EmbedderState {
        let has_ended = [&self.short, &self.others].into_iter().any(Queue::has_ended);
        EmbedderState {
            restarts: self.panics.load(Ordering::Relaxed),
            problem: has_ended.then(|| "one of its threads has ended".to_owned()),
        }
    }

    /// The embeddings of `texts`, in their order; see [`Model::embed`]. Dropping the future cancels the request if it is
    /// still waiting.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Overloaded`], immediately, when the texts do not fit in the queue now;
    /// [`EmbedError::TooManyTexts`] when they never fit; errors of [`Model::embed`].
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
        let semaphore = if is_few(texts.len()) { &self.permits_for_few } else { &self.permits_for_many };
        let permit = Arc::clone(semaphore)
            .try_acquire_many_owned(permits)
            .map_err(|_| EmbedError::Overloaded { limit })?;
        let (reply, embeddings) = oneshot::channel();
        let bytes: usize = texts.iter().map(String::len).sum();
        let queue = if bytes <= SHORT_BYTES { &self.short } else { &self.others };
        let queue = queue.requests.as_ref().ok_or(EmbedError::Stopped)?;
        let request = Request { texts: texts.into(), embeddings: Vec::new(), reply, permit: Some(permit) };
        queue.send(request).map_err(|_| EmbedError::Stopped)?;
        embeddings.await.map_err(|_| EmbedError::Stopped)?
    }
}

impl Queue {
    fn start(
        name: &str,
        work: impl FnOnce(mpsc::UnboundedReceiver<Request>) + Send + 'static,
    ) -> Result<Self, LoadError> {
        let (requests, waiting) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name(name.to_owned());
        let worker = thread.spawn(move || work(waiting)).map_err(|source| LoadError::Threads { source })?;
        Ok(Self { requests: Some(requests), worker: Some(worker) })
    }

    fn has_ended(&self) -> bool {
        self.worker.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(worker) = self.worker.take() {
            // A panic of the worker was reported to its callers as `Stopped`.
            worker.join().ok();
        }
    }
}

/// A function that embeds texts.
trait Embed: Fn(&[&str]) -> Result<Vec<Embedding>, EmbedError> {}

impl<F: Fn(&[&str]) -> Result<Vec<Embedding>, EmbedError>> Embed for F {}

fn serve(embed: &impl Embed, arriving: mpsc::UnboundedReceiver<Request>, panics: &AtomicU64) {
    // A panic is the answer to the requests that caused it; the thread continues with the next ones.
    let embed = |texts: &[&str]| {
        catch_unwind(AssertUnwindSafe(|| embed(texts))).unwrap_or_else(|panic| {
            panics.fetch_add(1, Ordering::Relaxed);
            Err(EmbedError::Panicked { message: message(&*panic) })
        })
    };
    let mut waiting = Waiting { arriving, few: VecDeque::new(), many: VecDeque::new() };
    while waiting.arrive() {
        let unfinished = waiting.next_batch().run(&embed);
        // In front of the others, in their order.
        for request in unfinished.into_iter().rev() {
            waiting.many.push_front(request);
        }
    }
}

fn is_few(texts: usize) -> bool {
    texts <= FEW_TEXTS
}

/// The waiting requests, in the order of their arrival.
struct Waiting {
    arriving: mpsc::UnboundedReceiver<Request>,
    few: VecDeque<Request>,
    many: VecDeque<Request>,
}

impl Waiting {
    /// Waits for a request; returns false if none can arrive any more.
    fn arrive(&mut self) -> bool {
        if self.few.is_empty() && self.many.is_empty() {
            let Some(request) = self.arriving.blocking_recv() else { return false };
            self.sort_in(request);
        }
        while let Ok(request) = self.arriving.try_recv() {
            self.sort_in(request);
        }
        true
    }

    fn sort_in(&mut self, request: Request) {
        let queue = if is_few(request.texts.len()) { &mut self.few } else { &mut self.many };
        queue.push_back(request);
    }

    fn next_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        // Large requests also progress, regardless of the number of small ones.
        let share = if self.many.is_empty() { BATCH_TOKENS } else { BATCH_TOKENS / 2 };
        while batch.tokens < share
            && let Some(request) = self.few.pop_front()
        {
            batch.add(request, usize::MAX);
        }
        while batch.tokens < BATCH_TOKENS
            && let Some(request) = self.many.pop_front()
        {
            batch.add(request, BATCH_TOKENS);
        }
        batch
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

/// Texts that are computed together.
#[derive(Default)]
struct Batch {
    texts: Vec<String>,
    /// The requests of the texts, in order, with the number of texts of each.
    requests: Vec<(Request, usize)>,
    /// Estimated.
    tokens: usize,
}

impl Batch {
    /// Adds texts of the request until the batch has `limit` tokens; none if its caller no longer waits.
    fn add(&mut self, mut request: Request, limit: usize) {
        drop(request.permit.take());
        if request.reply.is_closed() {
            return;
        }
        let before = self.texts.len();
        while self.tokens < limit
            && let Some(text) = request.texts.pop_front()
        {
            self.tokens += (2 + text.len() / BYTES_OF_TOKEN).min(MAX_TOKENS);
            self.texts.push(text);
        }
        self.requests.push((request, self.texts.len() - before));
    }

    /// Embeds the batch and answers the requests that are complete; returns the others.
    fn run(self, embed: &impl Embed) -> Vec<Request> {
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let mut together = embed(&texts).map(Vec::into_iter);
        let mut start = 0;
        let mut unfinished = Vec::new();
        for (mut request, count) in self.requests {
            let end = start + count;
            let own = match &mut together {
                Ok(embeddings) => Ok(embeddings.by_ref().take(count).collect()),
                // A text was refused, or panicked: each caller gets the answer to its own texts.
                Err(_) => embed(&texts[start..end]),
            };
            start = end;
            match own {
                Ok(own) => request.embeddings.extend(own),
                Err(error) => {
                    request.answer(Err(error));
                    continue;
                }
            }
            if request.texts.is_empty() {
                let embeddings = std::mem::take(&mut request.embeddings);
                request.answer(Ok(embeddings));
            } else {
                unfinished.push(request);
            }
        }
        unfinished
    }
}

impl Request {
    fn answer(self, answer: Result<Vec<Embedding>, EmbedError>) {
        // The caller may no longer wait for the answer.
        self.reply.send(answer).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_is_the_answer_to_its_request_and_the_thread_continues() {
        let embed = |texts: &[&str]| {
            assert!(!texts.iter().any(|text| text.contains("poison")), "a poisonous text");
            lengths(texts)
        };
        let embedder = Embedder::start_with(EmbedderConfig::default(), embed, embed);
        let embedder = embedder.expect("the threads start");
        for times in [1, 1, 1, 200, 200, 200] {
            let embed = |text: &str| embedder.embed(vec![text.repeat(times)]);
            let (before, poisoned, after) = tokio::join!(embed("a"), embed("poison"), embed("abc"));
            assert_eq!(before.expect("it is embedded")[0].as_slice(), [times as f32]);
            assert_eq!(after.expect("it is embedded")[0].as_slice(), [3.0 * times as f32]);
            let error = poisoned.expect_err("it panics").to_string();
            assert_eq!(error, "embedding the texts panicked: a poisonous text");
        }
        let EmbedderState { restarts, problem } = embedder.state();
        assert!(restarts >= 6 && problem.is_none(), "{restarts} {problem:?}");
    }

    #[tokio::test]
    async fn small_requests_do_not_wait_for_all_of_a_large_one() {
        let (embedder, called, release) = gated();
        let large = large_request();
        let mut all_of_it = Box::pin(embedder.embed(large.clone()));
        assert!(ready(&mut all_of_it).await.is_none());
        let first = called.recv().expect("it embeds");
        assert_eq!(first, large[..first.len()], "a part of the large request");
        // The maximum of waiting texts, although the large request has not ended.
        let small = (0..1_024).map(|n| format!("{n:200}"));
        let mut small: Vec<_> = small.map(|text| Box::pin(embedder.embed(vec![text]))).collect();
        for request in &mut small {
            assert!(ready(request).await.is_none());
        }
        release.send(()).expect("it waits");
        let second = called.recv().expect("it embeds");
        assert_eq!(second[0].trim(), "0");
        let small_ones = second.iter().filter(|text| text.len() == 200).count();
        assert_eq!(second[small_ones..], large[first.len()..][..second.len() - small_ones]);
        assert!(second.len() > small_ones, "the large request progresses too");
        for _ in 0..1_000 {
            release.send(()).expect("it waits");
        }
        let embeddings = all_of_it.await.expect("it is embedded");
        assert_eq!(embeddings.len(), 1_000);
        assert!(embeddings.iter().all(|embedding| embedding.as_slice() == [1_505.0]));
        for request in small {
            assert_eq!(request.await.expect("it is embedded")[0].as_slice(), [200.0]);
        }
    }

    #[tokio::test]
    async fn short_requests_do_not_wait_for_others() {
        let (embedder, called, _release) = gated();
        let mut long = Box::pin(embedder.embed(vec!["!".repeat(SHORT_BYTES + 1)]));
        assert!(ready(&mut long).await.is_none());
        called.recv().expect("embedding starts, and does not end");
        let short = embedder.embed(vec!["!".repeat(SHORT_BYTES)]).await.expect("it is embedded");
        assert_eq!(short[0].as_slice(), [SHORT_BYTES as f32]);
        assert!(ready(&mut long).await.is_none());
    }

    #[tokio::test]
    async fn rest_of_a_cancelled_request_is_not_embedded() {
        let (embedder, called, release) = gated();
        let mut left = Box::pin(embedder.embed(large_request()));
        assert!(ready(&mut left).await.is_none());
        let first = called.recv().expect("it embeds");
        drop(left);
        let mut after = Box::pin(embedder.embed(vec!["after".repeat(40)]));
        assert!(ready(&mut after).await.is_none());
        for _ in 0..1_000 {
            release.send(()).expect("it waits");
        }
        after.await.expect("it is embedded");
        assert!(first.len() < 100, "{}", first.len());
        assert_eq!(called.try_iter().collect::<Vec<_>>(), [["after".repeat(40)]]);
    }

    /// The length of each text instead of an embedding.
    fn lengths(texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        Ok(texts.iter().map(|text| vec![text.len() as f32].into()).collect())
    }

    /// An embedder, the texts of each call of its model except for short requests, and a sender that ends a call.
    fn gated() -> (Embedder, std::sync::mpsc::Receiver<Vec<String>>, std::sync::mpsc::Sender<()>) {
        let (calls, called) = std::sync::mpsc::channel();
        let (release, may_release) = std::sync::mpsc::channel();
        let embedder = Embedder::start_with(EmbedderConfig::default(), lengths, move |texts: &[&str]| {
            let owned = texts.iter().map(|text| (*text).to_owned()).collect();
            // The test may have ended.
            calls.send(owned).ok();
            // A closed channel releases it too: the test has ended.
            may_release.recv().ok();
            lengths(texts)
        });
        (embedder.expect("the threads start"), called, release)
    }

    /// 1,000 long texts.
    fn large_request() -> Vec<String> {
        (0..1_000).map(|number| format!("{number:04} {}", "word ".repeat(300))).collect()
    }

    /// The output of the future, if it is ready.
    async fn ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
