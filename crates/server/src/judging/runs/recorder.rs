//! Writes down what the tasks of a run do: what several have to say at the same time goes into one transaction.

use std::{sync::Arc, time::Duration};

use judge::provider::limits::Budget;
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

/// Whose records they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    pub(super) run: Uuid,
    pub(super) id: Uuid,
    /// Models in the run's plan.
    pub(super) models: u16,
}

/// Takes records, and answers once they are written. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    /// Calls begin while others' ends are written: the models would wait for those.
    begun: mpsc::Sender<Entry<AttemptBegun>>,
    done: mpsc::Sender<Entry<RunRecords>>,
}

type Entry<T> = (T, oneshot::Sender<Written>);
type Written = Result<Arc<Recorded>, Arc<StorageError>>;

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// The task is another worker's, or the run was deleted.
    #[error("the task is not this worker's any more")]
    Lost,
    /// The run is not running any more, so that no call may be begun.
    #[error("the run was ended")]
    Ended,
    /// PostgreSQL does not take them.
    #[error("failed to record what was done")]
    Storage(#[source] Arc<StorageError>),
}

/// Entries that go into one transaction.
const TOGETHER: usize = 256;
/// Between attempts to write while PostgreSQL is away.
const PAUSE: Duration = Duration::from_millis(500);
/// As long as it may be away: answers that were paid for wait.
const PATIENCE: Duration = Duration::from_secs(300);

impl Recorder {
    /// A recorder, and the work that has to be polled until the last clone is gone.
    pub(super) fn new(
        database: Database,
        worker: Worker,
        budget: Arc<Budget>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (begun, begun_entries) = mpsc::channel(TOGETHER);
        let (done, done_entries) = mpsc::channel(TOGETHER);
        let work = async move {
            tokio::join!(
                work::<Vec<AttemptBegun>>(begun_entries, &database, worker, &budget),
                work::<RunRecords>(done_entries, &database, worker, &budget)
            );
        };
        (Self { begun, done }, work)
    }

    /// Writes down that a call is about to be made.
    pub(super) async fn begin(&self, attempt: AttemptBegun) -> Result<(), RecordError> {
        let task = attempt.task;
        let recorded = written(&self.begun, attempt).await?;
        match recorded.state {
            Some(state) if state != RunState::Running => Err(RecordError::Ended),
            _ => require(&recorded, task),
        }
    }

    /// Writes `records`, which are all of one task.
    pub(super) async fn write(&self, task: i64, records: RunRecords) -> Result<(), RecordError> {
        records.check().map_err(|error| RecordError::Storage(Arc::new(error)))?;
        require(&*written(&self.done, records).await?, task)
    }
}

/// What goes into one transaction.
trait Batch: Default + Send + Sync {
    type Entry: Send;

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

/// Writes what comes, what has come meanwhile together, until nobody is left who might send more.
async fn work<B: Batch>(
    mut entries: mpsc::Receiver<Entry<B::Entry>>,
    database: &Database,
    worker: Worker,
    budget: &Budget,
) {
    let mut received = Vec::with_capacity(TOGETHER);
    while entries.recv_many(&mut received, TOGETHER).await > 0 {
        let mut batch = B::default();
        let mut waiting = Vec::with_capacity(received.len());
        for (entry, answer) in received.drain(..) {
            batch.add(entry);
            waiting.push(answer);
        }
        let recorded = write(&batch, database, worker).await.map(Arc::new).map_err(Arc::new);
        if let Ok(recorded) = &recorded {
            // The budget counts time by itself.
            budget.observe(spent(recorded.used, Duration::ZERO));
        }
        for answer in waiting {
            // Whoever does not wait any more has been told to stop.
            drop(answer.send(recorded.clone()));
        }
    }
}

async fn write(batch: &impl Batch, database: &Database, worker: Worker) -> Result<Recorded, StorageError> {
    let began = tokio::time::Instant::now();
    loop {
        match batch.write(database, worker).await {
            Err(error @ StorageError::Unavailable { .. }) if began.elapsed() < PATIENCE => {
                tracing::warn!(run = %worker.run, error = %error, "PostgreSQL is away; what was done waits");
                tokio::time::sleep(PAUSE).await;
            }
            recorded => return recorded,
        }
    }
}

/// Has `entry` written.
async fn written<T>(sender: &mpsc::Sender<Entry<T>>, entry: T) -> Result<Arc<Recorded>, RecordError> {
    let (answer, recorded) = oneshot::channel();
    let sent = sender.send((entry, answer)).await;
    assert!(sent.is_ok(), "the recorder works until its last sender is gone");
    recorded.await.expect("the recorder answers").map_err(RecordError::Storage)
}

/// That `task` was still the worker's.
fn require(recorded: &Recorded, task: i64) -> Result<(), RecordError> {
    match recorded.state {
        Some(_) if !recorded.lost.contains(&task) => Ok(()),
        _ => Err(RecordError::Lost),
    }
}
