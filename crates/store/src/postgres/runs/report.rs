//! What a run's tasks ended with, and what its calls used over time.

use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{FAILING, TaskKind, TaskOutcome};
use crate::{
    postgres::{Database, counted::counted, unnamed::on},
    storage::StorageError,
};

/// Characters of a reason by which tasks are grouped.
const REASON_CHARACTERS: i32 = 300;

/// Tasks without an answer or a verdict, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// Their kind.
    pub kind: TaskKind,
    /// Their outcome.
    pub outcome: TaskOutcome,
    /// The beginning of the reason; `None` if none was recorded.
    pub reason: Option<String>,
    /// How many there are.
    pub tasks: u64,
}

/// The most frequent reasons of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunReasons {
    /// Most frequent first.
    pub counts: Vec<ReasonCount>,
    /// Tasks without an answer or a verdict, of which `counts` has those with the most frequent reasons.
    pub tasks: u64,
}

/// What the calls of a part of a run's time used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsageInterval {
    /// The end of its last call, or the beginning of one that has not ended, UTC.
    pub until: PrimitiveDateTime,
    /// Calls, including failed ones.
    pub requests: u64,
    /// Tokens, read and written.
    pub tokens: u64,
    /// USD, of calls whose price is known.
    pub cost_usd: f64,
}

/// What a run's calls used over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSpending {
    /// In order of time.
    pub intervals: Vec<UsageInterval>,
    /// Calls with impossible times, which no interval has.
    pub without_time: u64,
}

/// A run without its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRun {
    /// Its id.
    pub id: Uuid,
    /// The beginning of its name.
    pub name: Option<String>,
    /// When it was created, UTC.
    pub created_at: PrimitiveDateTime,
}

impl Database {
    /// Those of the runs `ids` that exist, newest first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn runs_named(&self, ids: &[Uuid]) -> Result<Vec<NamedRun>, StorageError> {
        self.named_runs(Some(ids), i64::MAX).await
    }

    /// The newest runs, up to `limit`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn newest_runs(&self, limit: u32) -> Result<Vec<NamedRun>, StorageError> {
        self.named_runs(None, limit.into()).await
    }

    async fn named_runs(&self, ids: Option<&[Uuid]>, limit: i64) -> Result<Vec<NamedRun>, StorageError> {
        self.in_service(FAILING, "list the names of runs", async |connection| {
            sqlx::query_as!(
                NamedRun,
                r#"
            select id, left(name, 200) as "name?",
                -- Times beyond the range of Rust's types become the nearest in the range.
                least(greatest(created_at, '0001-01-01'), '9999-12-31 23:59:59.999999') as "created_at!"
            from runs
            where $1::uuid[] is null or id = any($1)
            order by created_at desc, id desc
            limit $2
            "#,
                ids,
                limit
            )
            .fetch_all(on(connection))
            .await
        })
        .await
    }

    /// The `most` most frequent reasons why tasks of the run have no answer or no verdict.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn run_reasons(&self, id: Uuid, most: u32) -> Result<RunReasons, StorageError> {
        self.in_service(FAILING, "count a run's reasons", async |connection| {
            let rows = sqlx::query!(
                r#"
            select kind as "kind!", outcome as "outcome!", left(reason, $2) as "reason?", count(*) as "tasks!",
                (sum(count(*)) over ())::bigint as "all!"
            from run_tasks
            where run_id = $1
                and kind in ('answer', 'judgement')
                and outcome in ('unparsed', 'refused', 'failed', 'unanswered')
            group by 1, 2, 3
            order by count(*) desc, 1, 2, 3
            limit $3
            "#,
                id,
                REASON_CHARACTERS,
                i64::from(most)
            )
            .fetch_all(on(connection))
            .await?;
            let mut reasons = RunReasons::default();
            for row in rows {
                reasons.tasks = counted(row.all)?;
                // Others were not selected.
                let named = TaskKind::stored(&row.kind).zip(TaskOutcome::stored(&row.outcome));
                let Some((kind, outcome)) = named else { continue };
                let tasks = counted(row.tasks)?;
                reasons.counts.push(ReasonCount { kind, outcome, reason: row.reason, tasks });
            }
            Ok(reasons)
        })
        .await
    }

    /// What the run's calls used, in up to `parts` parts of equal length from the first call to the last. A call counts
    /// when it ended.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn run_spending(&self, id: Uuid, parts: u32) -> Result<RunSpending, StorageError> {
        self.in_service(FAILING, "read what a run used", async |connection| {
            let rows = sqlx::query_file!("src/postgres/runs/spending.sql", id, f64::from(parts))
                .fetch_all(on(connection))
                .await?;
            let mut spending = RunSpending::default();
            for row in rows {
                let requests = counted(row.requests)?;
                let Some(until) = row.until else {
                    spending.without_time += requests;
                    continue;
                };
                let tokens = counted(row.tokens)?;
                spending.intervals.push(UsageInterval { until, requests, tokens, cost_usd: row.cost_usd });
            }
            Ok(spending)
        })
        .await
    }
}
