//! Workers of a run and their tasks.

use std::{fmt::Display, time::Duration};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{CLAIMED_BYTES, FAILING, RunQuery, RunState, TaskKind, lifecycle::locked_state, whole};
use crate::{
    postgres::{Database, counted::counted, unnamed::on},
    storage::StorageError,
};

/// The tasks of a worker.
#[derive(Debug)]
pub struct Claims {
    /// The state of the run; only a running one has tasks. `None` if the run no longer exists.
    pub state: Option<RunState>,
    /// The tasks that now belong to the worker.
    pub tasks: Vec<ClaimedTask>,
}

/// A task that only this worker may do as long as its lease lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedTask {
    /// Its number in the run.
    pub number: i64,
    /// How often it was claimed, including this time: a task with many claims may be the one that kills workers.
    pub claims: u32,
    /// Attempts that were started before.
    pub attempts: u32,
    /// The position of the query in the run, as stored.
    pub query_place: i32,
    /// Bytes of all its texts.
    pub bytes: u64,
    /// The query.
    pub query: RunQuery,
    /// The work.
    pub work: TaskWork,
}

/// The work of a task. Models, metrics and judges are identified by their positions in the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskWork {
    /// Get the model's answer to the query and store the output.
    Answer {
        /// The model.
        model: u16,
        /// The answer that a worker already received but died before storing as an output: text and metadata as JSON.
        kept: Option<(String, String)>,
    },
    /// Get a judgement.
    Judgement {
        /// The model that gave the answer.
        model: u16,
        /// Its answer.
        answer: ModelAnswer,
        /// The model that it is compared with, and that model's answer.
        opponent: Option<(u16, ModelAnswer)>,
        /// Whether the model's answer is shown second.
        swapped: bool,
        /// The metric.
        metric: u16,
        /// The judge.
        judge: u16,
        /// Number of the repeat, from 0.
        repeat: u32,
    },
    /// A task with large texts, which were not read: see [`Database::claimed_run_task`].
    Unread {
        /// The kind of the task.
        kind: TaskKind,
        /// The metric of a judgement.
        metric: Option<u16>,
    },
    /// A task that cannot be done because its row is invalid.
    Broken {
        /// The kind of the task.
        kind: TaskKind,
        /// The problem.
        reason: String,
    },
}

/// The state of a model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelAnswer {
    /// It is stored.
    Output {
        /// The output's id.
        id: String,
        /// The text.
        text: String,
    },
    /// There is no answer, for the given reason.
    None(String),
}

impl TaskWork {
    /// The kind of the task.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Answer { .. } => TaskKind::Answer,
            Self::Judgement { .. } => TaskKind::Judgement,
            Self::Unread { kind, .. } | Self::Broken { kind, .. } => *kind,
        }
    }
}

impl ClaimedTask {
    /// The task without its texts, which are to be read later.
    #[must_use]
    pub fn unread(self) -> Self {
        let metric = match self.work {
            TaskWork::Judgement { metric, .. } => Some(metric),
            TaskWork::Unread { metric, .. } => metric,
            TaskWork::Answer { .. } | TaskWork::Broken { .. } => None,
        };
        let work = TaskWork::Unread { kind: self.work.kind(), metric };
        Self { query: RunQuery::default(), work, ..self }
    }
}

impl Database {
    /// Adds `worker` to the run for the time `lease`, or renews its lease; returns the state of the run, `None` if it
    /// does not exist.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn hold_run(
        &self,
        run: Uuid,
        worker: Uuid,
        lease: Duration,
    ) -> Result<Option<RunState>, StorageError> {
        const OPERATION: &str = "hold a run";
        self.in_service(FAILING, OPERATION, async |connection| {
            let state = locked_state(connection, run).await?;
            if state.is_some() {
                sqlx::query!(
                    r#"
                insert into run_workers (run_id, worker, lease_until)
                values ($1, $2, clock_timestamp() at time zone 'utc' + $3::bigint * interval '1 millisecond')
                on conflict (run_id, worker) do update set lease_until = excluded.lease_until
                "#,
                    run,
                    worker,
                    whole(lease.as_millis() as u64)
                )
                .execute(on(connection))
                .await?;
            }
            Ok(state)
        })
        .await
    }

    /// How many workers of the run are alive. No lease lasts a day: one that does was written by another program and
    /// counts as expired.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn run_workers(&self, run: Uuid) -> Result<u64, StorageError> {
        self.in_service(FAILING, "count a run's workers", async |connection| {
            let workers = sqlx::query_scalar!(
                r#"
            select count(*) as "workers!"
            from run_workers
            where run_id = $1
                and lease_until > clock_timestamp() at time zone 'utc'
                and lease_until < clock_timestamp() at time zone 'utc' + interval '1 day'
            "#,
                run
            )
            .fetch_one(on(connection))
            .await?;
            counted(workers)
        })
        .await
    }

    /// Ends the lease of `worker`, whose tasks may then be claimed by others.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn leave_run(&self, run: Uuid, worker: Uuid) -> Result<(), StorageError> {
        const OPERATION: &str = "leave a run";
        self.in_service(FAILING, OPERATION, async |connection| {
            locked_state(connection, run).await?;
            sqlx::query!(
                r#"
            with gone as (
                delete from run_workers where run_id = $1 and worker = $2 returning requests
            )
            update runs
            set requests =
                (runs.requests::numeric + least(greatest(gone.requests, 0), 9223372036854775807 - runs.requests::numeric))::bigint
            from gone
            where runs.id = $1
            "#,
                run,
                worker
            )
            .execute(on(connection))
            .await?;
            Ok(())
        })
        .await
    }

    /// Claims tasks for `worker`, as `wanted` says, from a run of `models` models. A task whose row is invalid is
    /// claimed too, as [`TaskWork::Broken`], so that it can be ended.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn claim_run_tasks(
        &self,
        run: Uuid,
        worker: Uuid,
        models: u16,
        wanted: &[(TaskKind, usize)],
    ) -> Result<Claims, StorageError> {
        const OPERATION: &str = "claim a run's tasks";
        self.in_service(FAILING, OPERATION, async |connection| {
            let state = locked_state(connection, run).await?;
            let mut tasks = Vec::new();
            if state == Some(RunState::Running) {
                for wanted in wanted {
                    let claimed = claim(connection, run, worker, models, *wanted).await;
                    tasks.extend(claimed?);
                }
            }
            Ok(Claims { state, tasks })
        })
        .await
    }
}

impl Database {
    /// The task `number` of a run of `models` models with all its texts, if it belongs to `worker` and is not done.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn claimed_run_task(
        &self,
        run: Uuid,
        worker: Uuid,
        models: u16,
        number: i64,
    ) -> Result<Option<ClaimedTask>, StorageError> {
        self.in_service(FAILING, "read a run's task", async |connection| {
            let row = sqlx::query_file_as!(
                ClaimedRow,
                "src/postgres/runs/claim.sql",
                run,
                worker,
                0,
                i64::from(models),
                "",
                i64::MAX,
                Some(number)
            )
            .fetch_optional(on(connection))
            .await?;
            let task = |row: ClaimedRow| {
                // Each kind of task is claimed separately.
                TaskKind::stored(&row.kind).map(|kind| row.task(kind, i64::MAX))
            };
            Ok(row.and_then(task))
        })
        .await
    }
}

async fn claim(
    connection: &mut PgConnection,
    run: Uuid,
    worker: Uuid,
    models: u16,
    (kind, limit): (TaskKind, usize),
) -> sqlx::Result<Vec<ClaimedTask>> {
    let rows = sqlx::query_file_as!(
        ClaimedRow,
        "src/postgres/runs/claim.sql",
        run,
        worker,
        whole(limit as u64),
        i64::from(models),
        kind.as_str(),
        CLAIMED_BYTES,
        None::<i64>
    )
    .fetch_all(on(connection))
    .await?;
    Ok(rows.into_iter().map(|row| row.task(kind, CLAIMED_BYTES)).collect())
}

/// A row of `run_tasks` with the rows that it refers to, as selected by the statements here.
struct ClaimedRow {
    task: i64,
    kind: String,
    query: Option<i32>,
    model: Option<i16>,
    opponent: Option<i16>,
    swapped: Option<bool>,
    metric: Option<i16>,
    judge: Option<i16>,
    repeat: Option<i32>,
    claims: Option<i32>,
    attempts: Option<i32>,
    bytes: i64,
    answer_text: Option<String>,
    answer_metadata: Option<String>,
    query_id: Option<String>,
    query_text: Option<String>,
    theme: Option<String>,
    reference: Option<String>,
    output_text: Option<String>,
    output_id: Option<String>,
    output_reason: Option<String>,
    opponent_text: Option<String>,
    opponent_output_id: Option<String>,
    opponent_reason: Option<String>,
}

impl ClaimedRow {
    /// The task, with its texts if they have at most `most` bytes.
    fn task(self, kind: TaskKind, most: i64) -> ClaimedTask {
        let row = self;
        // No query has the position -1.
        let (number, query_place, bytes) = (row.task, row.query.unwrap_or(-1), row.bytes.unsigned_abs());
        let metric = row.metric.and_then(|metric| metric.try_into().ok());
        let read = || {
            let counts = (named("claims", row.claims)?, named("attempts", row.attempts)?);
            if row.bytes > most {
                return Ok((RunQuery::default(), counts, TaskWork::Unread { kind, metric }));
            }
            let place_of_query = row.query.ok_or("its `query` is missing")?;
            let (Some(text), Some(theme)) = (row.query_text, row.theme) else {
                return Err(format!("the run has no query {place_of_query}"));
            };
            let query = RunQuery { id: row.query_id, text, theme, reference: row.reference };
            let model = named("model", row.model)?;
            let work = if kind == TaskKind::Answer {
                TaskWork::Answer { model, kept: row.answer_text.zip(row.answer_metadata) }
            } else {
                let opponent: Option<Result<_, String>> = row.opponent.map(|opponent| {
                    let answer = answer(row.opponent_output_id, row.opponent_text, row.opponent_reason)?;
                    Ok((place("opponent", opponent)?, answer))
                });
                TaskWork::Judgement {
                    model,
                    answer: answer(row.output_id, row.output_text, row.output_reason)?,
                    opponent: opponent.transpose()?,
                    swapped: row.swapped.ok_or("its `swapped` is missing")?,
                    metric: named("metric", row.metric)?,
                    judge: named("judge", row.judge)?,
                    repeat: named("repeat", row.repeat)?,
                }
            };
            Ok((query, counts, work))
        };
        let (query, (claims, attempts), work) = read().unwrap_or_else(|reason: String| {
            let reason = format!("task {number} cannot be read: {reason}");
            (RunQuery::default(), (0, 0), TaskWork::Broken { kind, reason })
        });
        ClaimedTask { number, claims, attempts, query_place, bytes, query, work }
    }
}

fn answer(id: Option<String>, text: Option<String>, reason: Option<String>) -> Result<ModelAnswer, String> {
    match (id, text, reason) {
        (Some(id), Some(text), _) => Ok(ModelAnswer::Output { id, text }),
        (None, _, Some(reason)) => Ok(ModelAnswer::None(reason)),
        _ => Err("there is no answer to judge".to_owned()),
    }
}

/// A position in the plan or a count, from a column that must not be NULL for such tasks.
fn named<S: Copy + Display, U: TryFrom<S>>(column: &str, stored: Option<S>) -> Result<U, String> {
    place(column, stored.ok_or_else(|| format!("its `{column}` is missing"))?)
}

/// A position in the plan or a count; never negative.
fn place<S: Copy + Display, U: TryFrom<S>>(column: &str, stored: S) -> Result<U, String> {
    stored.try_into().map_err(|_| format!("its `{column}` is {stored}"))
}
