//! Calls are recorded before they are made. Many start at once, and each waits for this, so nothing here waits for
//! the lock on the run's row, which other transactions hold while they store results.

use sqlx::PgConnection;
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{FAILING, Recorded, RunState, StoredUsage, record::attempt_number};
use crate::{
    postgres::{Database, unnamed::on},
    storage::StorageError,
};

/// A call that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptBegun {
    /// The task's number.
    pub task: i64,
    /// The attempt's number in the task, from 1.
    pub number: u32,
    /// The model that is called.
    pub model_id: String,
    /// Start, UTC.
    pub at: PrimitiveDateTime,
}

impl Database {
    /// Records that `worker` is about to make these calls, if the run is running and the tasks belong to the worker.
    ///
    /// # Errors
    /// When a statement fails; nothing is written then.
    pub async fn begin_attempts(
        &self,
        run: Uuid,
        worker: Uuid,
        begun: &[AttemptBegun],
    ) -> Result<Recorded, StorageError> {
        const OPERATION: &str = "record the start of calls";
        self.in_service(FAILING, OPERATION, async |connection| {
            let recorded = begin(connection, run, worker, begun).await?;
            Ok(recorded)
        })
        .await
    }
}

async fn begin(
    connection: &mut PgConnection,
    run: Uuid,
    worker: Uuid,
    begun: &[AttemptBegun],
) -> sqlx::Result<Recorded> {
    let tasks = || begun.iter().map(|begun| begun.task);
    let row = sqlx::query_file!(
        "src/postgres/runs/begin_attempts.sql",
        run,
        worker,
        &tasks().collect::<Vec<_>>(),
        &begun.iter().map(|begun| attempt_number(begun.number)).collect::<Vec<_>>(),
        &begun.iter().map(|begun| begun.model_id.clone()).collect::<Vec<_>>(),
        &begun.iter().map(|begun| begun.at).collect::<Vec<_>>()
    )
    .fetch_optional(on(connection))
    .await?;
    let Some(row) = row else {
        return Ok(Recorded::of_no_run(tasks().collect()));
    };
    let mut problems = Vec::new();
    let used = StoredUsage {
        requests: row.requests,
        worker_requests: row.worker_requests,
        tokens: row.tokens,
        cost_usd: row.cost_usd,
        without_usage: row.without_usage,
        without_cost: row.without_cost,
    };
    let used = used.read(&mut problems);
    let lost = tasks().filter(|task| !row.held.contains(task)).collect();
    let state = RunState::stored(row.state.as_deref()).unwrap_or(RunState::Stopped);
    Ok(Recorded { lost, state: Some(state), used, problems })
}
