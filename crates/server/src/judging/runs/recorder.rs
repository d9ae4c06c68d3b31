//! Writes down what the tasks of a run do: what several have to say at the same time goes into one transaction.

use std::{sync::Arc, time::Duration};

use judge::provider::limits::Budget;
use store::{
    postgres::{
        Database,
        runs::{Recorded, RunRecords, RunState},
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
pub(super) struct Recorder(mpsc::Sender<Entry>);

type Entry = (RunRecords, oneshot::Sender<Result<Arc<Recorded>, Arc<StorageError>>>);

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
        let (sender, mut entries) = mpsc::channel::<Entry>(TOGETHER);
        let work = async move {
            let mut batch = Vec::with_capacity(TOGETHER);
            while entries.recv_many(&mut batch, TOGETHER).await > 0 {
                let mut records = RunRecords::default();
                let mut waiting = Vec::with_capacity(batch.len());
                for (entry, answer) in batch.drain(..) {
                    records.append(entry);
                    waiting.push(answer);
                }
                let recorded = write(&database, worker, &records).await.map(Arc::new).map_err(Arc::new);
                if let Ok(recorded) = &recorded {
                    // The budget counts time by itself.
                    budget.observe(spent(recorded.used, Duration::ZERO));
                }
                for answer in waiting {
                    // Whoever does not wait any more has been told to stop.
                    drop(answer.send(recorded.clone()));
                }
            }
        };
        (Self(sender), work)
    }

    /// Writes `records`, which are all of one task.
    pub(super) async fn write(&self, task: i64, records: RunRecords) -> Result<(), RecordError> {
        records.check().map_err(|error| RecordError::Storage(Arc::new(error)))?;
        let begins = !records.begun.is_empty();
        let (answer, recorded) = oneshot::channel();
        let sent = self.0.send((records, answer)).await;
        sent.expect("the recorder works until its last sender is gone");
        let recorded = recorded.await.expect("the recorder answers").map_err(RecordError::Storage)?;
        match recorded.state {
            None => Err(RecordError::Lost),
            Some(state) if begins && state != RunState::Running => Err(RecordError::Ended),
            Some(_) if recorded.lost.contains(&task) => Err(RecordError::Lost),
            Some(_) => Ok(()),
        }
    }
}

async fn write(database: &Database, worker: Worker, records: &RunRecords) -> Result<Recorded, StorageError> {
    let began = tokio::time::Instant::now();
    loop {
        match database.record_run(worker.run, worker.id, worker.models, records).await {
            Err(error @ StorageError::Unavailable { .. }) if began.elapsed() < PATIENCE => {
                tracing::warn!(run = %worker.run, error = %error, "PostgreSQL is away; what was done waits");
                tokio::time::sleep(PAUSE).await;
            }
            recorded => return recorded,
        }
    }
}
