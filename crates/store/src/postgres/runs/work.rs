//! Who works on a run, and on what.

use std::{fmt::Display, time::Duration};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{FAILING, RunQuery, RunState, TaskKind, lifecycle::locked_state, whole};
use crate::{
    postgres::{Database, counted::counted, unnamed::on},
    storage::StorageError,
};

/// What a worker gets to do.
#[derive(Debug)]
pub struct Claims {
    /// The run's state; it has tasks for nobody unless it is running. `None` if there is no such run any more.
    pub state: Option<RunState>,
    /// The worker's from now on.
    pub tasks: Vec<ClaimedTask>,
}

/// A task that a worker may do, and nobody else as long as its lease lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedTask {
    /// Its number in the run.
    pub number: i64,
    /// How often it was claimed, this time included: more than a few times, and it may be what kills workers.
    pub claims: u32,
    /// Attempts that were begun before.
    pub attempts: u32,
    /// The query's place in the run, as it is stored.
    pub query_place: i32,
    /// The query.
    pub query: RunQuery,
    /// What is to be done.
    pub work: TaskWork,
}

/// What a task asks of its worker. Models, metrics and judges are named by their places in the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskWork {
    /// Have the model answer the query, and store the output.
    Answer {
        /// The model.
        model: u16,
        /// What it said already, to a worker that died before the output was stored: text and metadata as JSON.
        kept: Option<(String, String)>,
    },
    /// Have the judge judge.
    Judgement {
        /// The model whose answer it is.
        model: u16,
        /// Its answer.
        answer: ModelAnswer,
        /// The model that it is compared with, and its answer.
        opponent: Option<(u16, ModelAnswer)>,
        /// Whether the model's answer is shown second.
        swapped: bool,
        /// The metric.
        metric: u16,
        /// The judge.
        judge: u16,
        /// How often the judge was asked the same before.
        repeat: u32,
    },
    /// Nothing that can be done: its row is none of ours.
    Broken {
        /// What kind of task it is.
        kind: TaskKind,
        /// What is wrong with it.
        reason: String,
    },
}

/// What came of a model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelAnswer {
    /// It is a text, and stored.
    Output {
        /// The output's id.
        id: String,
        /// The text.
        text: String,
    },
    /// There is none, for this reason.
    None(String),
}

impl TaskWork {
    /// What kind of task it is.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Answer { .. } => TaskKind::Answer,
            Self::Judgement { .. } => TaskKind::Judgement,
            Self::Broken { kind, .. } => *kind,
        }
    }
}

impl Database {
    /// Makes `worker` one of the run's for as long as `lease`, or lets its lease last so long again; the run's state.
    /// `None` if there is no such run.
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

    /// How many workers of the run are alive. No lease lasts for a day: one that seems to is another hand's, and over.
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

    /// Ends the lease of `worker`, whose tasks are anybody's from then on.
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

    /// Gives `worker`, which holds the run, what `wanted` says of a run of `models` models. A task whose row is none of
    /// ours is given too, as [`TaskWork::Broken`], so that it can be ended.
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

async fn claim(
    connection: &mut PgConnection,
    run: Uuid,
    worker: Uuid,
    models: u16,
    (kind, limit): (TaskKind, usize),
) -> sqlx::Result<Vec<ClaimedTask>> {
    let rows = sqlx::query_file!(
        "src/postgres/runs/claim.sql",
        run,
        worker,
        whole(limit as u64),
        i64::from(models),
        kind.as_str()
    )
    .fetch_all(on(connection))
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let read = || {
                let number = row.query.ok_or("its `query` is missing")?;
                let (Some(text), Some(theme)) = (row.query_text, row.theme) else {
                    return Err(format!("the run has no query {number}"));
                };
                let query = RunQuery { id: row.query_id, text, theme, reference: row.reference };
                let model = named("model", row.model)?;
                let counts = (named("claims", row.claims)?, named("attempts", row.attempts)?);
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
            let (query, (claims, attempts), work) = read().unwrap_or_else(|reason| {
                let reason = format!("task {} cannot be read: {reason}", row.task);
                (RunQuery::default(), (0, 0), TaskWork::Broken { kind, reason })
            });
            // No query has the place -1.
            let query_place = row.query.unwrap_or(-1);
            ClaimedTask { number: row.task, claims, attempts, query_place, query, work }
        })
        .collect())
}

fn answer(id: Option<String>, text: Option<String>, reason: Option<String>) -> Result<ModelAnswer, String> {
    match (id, text, reason) {
        (Some(id), Some(text), _) => Ok(ModelAnswer::Output { id, text }),
        (None, _, Some(reason)) => Ok(ModelAnswer::None(reason)),
        _ => Err("there is no answer that it could judge".to_owned()),
    }
}

/// A place in the plan, or a count, of a column that such tasks have.
fn named<S: Copy + Display, U: TryFrom<S>>(column: &str, stored: Option<S>) -> Result<U, String> {
    place(column, stored.ok_or_else(|| format!("its `{column}` is missing"))?)
}

/// A place in the plan, or a count; never negative.
fn place<S: Copy + Display, U: TryFrom<S>>(column: &str, stored: S) -> Result<U, String> {
    stored.try_into().map_err(|_| format!("its `{column}` is {stored}"))
}
