//! Records the progress of a run's tasks, with group commit: concurrent records go into one transaction.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use records::{lock::Mutex, panic_message};
use store::{
    postgres::{
        Database,
        runs::{AttemptBegun, Recorded, RunRecords, RunState},
    },
    storage::StorageError,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::plan::spent;
use crate::provider::limits::Budget;

/// The health of the recorders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecorderState {
    /// How often it panicked and was restarted.
    pub restarts: u64,
    /// The current problem, if there is one.
    pub problem: Option<String>,
}

/// The health of a process's recorders. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct RecorderHealth(
    /// Written by recorders; locked for one step.
    Arc<Mutex<RecorderState>>,
);

impl RecorderHealth {
    pub(super) fn state(&self) -> RecorderState {
        self.0.lock().clone()
    }

    fn up(&self) {
        self.0.lock().problem = None;
    }

    fn panicked(&self, message: &str) {
        let mut state = self.0.lock();
        state.restarts += 1;
        state.problem = Some(format!("it panicked: {message}"));
    }
}

/// The owner of records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    pub(super) run: Uuid,
    pub(super) id: Uuid,
    /// Models in the run's plan.
    pub(super) models: u16,
}

/// Writes records, and returns once they are committed. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    /// Separate, since the start of a call must not wait for the records of finished ones.
    begun: mpsc::Sender<Entry<AttemptBegun>>,
    done: mpsc::Sender<Entry<RunRecords>>,
}

type Entry<T> = (T, oneshot::Sender<WriteResult>);
type WriteResult = Result<Arc<Recorded>, WriteError>;

/// Why a batch was not written.
#[derive(Clone, Debug)]
enum WriteError {
    Storage(Arc<StorageError>),
    Panic(String),
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// The task belongs to another worker, or the run was deleted.
    #[error("the task belongs to another worker")]
    Lost,
    /// The run is no longer running, so that no call may start.
    #[error("the run was ended")]
    Ended,
    /// The usage of the run is unknown, so that no call may start.
    #[error("the usage of its calls cannot be read: {problem}")]
    Usage {
        /// The problem.
        problem: String,
    },
    /// PostgreSQL failed.
    #[error("failed to record the progress")]
    Storage(#[source] Arc<StorageError>),
    /// The recorder panicked.
    #[error("failed to record the progress: {message}")]
    Panic {
        /// The message of the panic.
        message: String,
    },
}

/// Most entries of one transaction.
const MAX_BATCH: usize = 256;
/// Between attempts to write while PostgreSQL is unavailable.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait for PostgreSQL: paid answers are waiting to be recorded.
const MAX_WAIT: Duration = Duration::from_secs(300);

impl Recorder {
    /// A recorder, and its work, which must be polled until the last clone is dropped.
    pub(super) fn new(
        database: Database,
        worker: Worker,
        budget: Arc<Budget>,
        health: RecorderHealth,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (begun, begun_entries) = mpsc::channel(MAX_BATCH);
        let (done, done_entries) = mpsc::channel(MAX_BATCH);
        let work = async move {
            tokio::join!(
                work::<Vec<AttemptBegun>>(begun_entries, &database, worker, (&budget, &health)),
                work::<RunRecords>(done_entries, &database, worker, (&budget, &health))
            );
        };
        (Self { begun, done }, work)
    }

    /// Records that a call is about to be made.
    pub(super) async fn begin(&self, attempt: AttemptBegun) -> Result<(), RecordError> {
        let task = attempt.task;
        let recorded = written(&self.begun, attempt).await?;
        match recorded.state {
            Some(state) if state != RunState::Running => Err(RecordError::Ended),
            _ => match recorded.problems.first() {
                Some(problem) => Err(RecordError::Usage { problem: problem.clone() }),
                None => require(&recorded, task),
            },
        }
    }

    /// Writes `records`, which belong to one task.
    pub(super) async fn write(&self, task: i64, records: RunRecords) -> Result<(), RecordError> {
        records.check().map_err(|error| RecordError::Storage(Arc::new(error)))?;
        require(&*written(&self.done, records).await?, task)
    }
}

/// Records of one task, for one transaction.
trait Batch: Default + Send + Sync {
    type Entry: Clone + Send;

    fn add(&mut self, entry: Self::Entry);

    fn write(
        &self,
        database: &Database,
        worker: Worker,
    ) -> impl Future<Output = Result<Recorded, StorageError>> + Send;
}

impl Batch for Vec<AttemptBegun> {
    type Entry = AttemptBegun;

    fn add(&mut self, entry: AttemptBegun) {
        self.push(entry);
    }

    async fn write(&self, database: &Database, worker: Worker) -> Result<Recorded, StorageError> {
        database.begin_attempts(worker.run, worker.id, self).await
    }
}

impl Batch for RunRecords {
    type Entry = Self;

    fn add(&mut self, entry: Self) {
        self.append(entry);
    }

    async fn write(&self, database: &Database, worker: Worker) -> Result<Recorded, StorageError> {
        database.record_run(worker.run, worker.id, worker.models, self).await
    }
}

/// Writes entries in batches of those that have arrived, until all senders are dropped. If a batch fails, its entries
/// are written one by one, so that each has its own result.
async fn work<B: Batch>(
    mut entries: mpsc::Receiver<Entry<B::Entry>>,
    database: &Database,
    worker: Worker,
    (budget, health): (&Budget, &RecorderHealth),
) {
    let mut received = Vec::with_capacity(MAX_BATCH);
    while entries.recv_many(&mut received, MAX_BATCH).await > 0 {
        let (entries, waiting): (Vec<_>, Vec<_>) = received.drain(..).unzip();
        let together = write_entries::<B>(&entries, database, worker, health).await;
        for (entry, answer) in entries.chunks(1).zip(waiting) {
            let written = match &together {
                Err(error) if entries.len() > 1 && !error.is_transient() => {
                    write_entries::<B>(entry, database, worker, health).await
                }
                together => together.clone(),
            };
            if let Ok(recorded) = &written {
                // The budget measures time itself.
                budget.observe(spent(recorded.used, Duration::ZERO));
            }
            // A receiver that was dropped belongs to a stopped task.
            drop(answer.send(written));
        }
    }
}

async fn write_entries<B: Batch>(
    entries: &[B::Entry],
    database: &Database,
    worker: Worker,
    health: &RecorderHealth,
) -> WriteResult {
    let writing = async {
        let mut batch = B::default();
        entries.iter().cloned().for_each(|entry| batch.add(entry));
        write(&batch, database, worker).await
    };
    // Senders get an error, and the next batch is written.
    match AssertUnwindSafe(writing).catch_unwind().await {
        Ok(recorded) => {
            health.up();
            recorded.map(Arc::new).map_err(|error| WriteError::Storage(Arc::new(error)))
        }
        Err(panic) => {
            let message = panic_message(panic);
            tracing::error!(run = %worker.run, panic = message, "the recorder of a run panicked");
            health.panicked(&message);
            Err(WriteError::Panic(message))
        }
    }
}

impl WriteError {
    /// Whether a retry may succeed.
    fn is_transient(&self) -> bool {
        match self {
            Self::Storage(error) => matches!(**error, StorageError::Unavailable { .. }),
            Self::Panic(_) => false,
        }
    }
}

async fn write(batch: &impl Batch, database: &Database, worker: Worker) -> Result<Recorded, StorageError> {
    let began = tokio::time::Instant::now();
    loop {
        match batch.write(database, worker).await {
            Err(error @ StorageError::Unavailable { .. }) if began.elapsed() < MAX_WAIT => {
                tracing::warn!(run = %worker.run, error = %error, "PostgreSQL is unavailable; progress waits to be recorded");
                tokio::time::sleep(PAUSE).await;
            }
            recorded => return recorded,
        }
    }
}

/// Sends `entry` to the recorder and waits for its result.
async fn written<T>(sender: &mpsc::Sender<Entry<T>>, entry: T) -> Result<Arc<Recorded>, RecordError> {
    let (answer, recorded) = oneshot::channel();
    let gone = || RecordError::Panic { message: "the recorder has stopped".to_owned() };
    sender.send((entry, answer)).await.map_err(|_| gone())?;
    recorded.await.map_err(|_| gone())?.map_err(|error| match error {
        WriteError::Storage(error) => RecordError::Storage(error),
        WriteError::Panic(message) => RecordError::Panic { message },
    })
}

/// Fails unless `task` was still the worker's.
fn require(recorded: &Recorded, task: i64) -> Result<(), RecordError> {
    match recorded.state {
        Some(_) if !recorded.lost.contains(&task) => Ok(()),
        _ => Err(RecordError::Lost),
    }
}
