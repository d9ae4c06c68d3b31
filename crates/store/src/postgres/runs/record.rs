//! Stores the results of workers in one transaction.

use std::collections::HashSet;

use sqlx::PgConnection;
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    FAILING, RunState, RunUsage, StoredUsage, TaskOutcome,
    lifecycle::{locked_state, release_judgements},
    whole,
};
use crate::{
    postgres::{Database, EvaluationResult, evaluation_results::insert_results, unnamed::on},
    storage::{StorageError, check_text},
};

/// The results of a worker since its last write. All of them are written, except those of tasks that no longer belong
/// to the worker.
#[derive(Clone, Debug, Default)]
pub struct RunRecords {
    /// Calls that have ended.
    pub ended: Vec<AttemptEnded>,
    /// Answers of models.
    pub answers: Vec<PendingAnswer>,
    /// Tasks that are done.
    pub done: Vec<TaskDone>,
}

/// A call that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnded {
    /// The task's number.
    pub task: i64,
    /// Number of the attempt in the task, from 1.
    pub number: u32,
    /// End, UTC.
    pub at: PrimitiveDateTime,
    /// `completed`, or the kind of its error.
    pub outcome: &'static str,
    /// The provider's status code, if it was an error.
    pub http_status: Option<u16>,
    /// Time from the request to the end of the answer, if there was one.
    pub latency_ms: Option<u64>,
    /// Input and output tokens, if the answer has them.
    pub tokens: Option<(u64, u64)>,
    /// USD, if the price is known.
    pub cost_usd: Option<f64>,
    /// The provider's id for the answer.
    pub provider_id: Option<String>,
}

/// An answer of a model, before it is stored as an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAnswer {
    /// The task's number.
    pub task: i64,
    /// The answer.
    pub text: String,
    /// Its metadata, as JSON.
    pub metadata: String,
}

/// A task that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDone {
    /// Its number.
    pub task: i64,
    /// The position of the query in the run, as stored.
    pub query_place: i32,
    /// Its outcome.
    pub outcome: TaskOutcome,
    /// The reason, if it failed.
    pub reason: Option<String>,
    /// The output that the answer is stored as.
    pub output_id: Option<String>,
    /// The result of a judgement.
    pub result: Option<EvaluationResult>,
}

/// The effect of records.
#[derive(Debug)]
pub struct Recorded {
    /// Tasks that no longer belong to the worker; only the end of their attempts was written.
    pub lost: HashSet<i64>,
    /// The run's state; `None` if it was deleted.
    pub state: Option<RunState>,
    /// Usage of all workers.
    pub used: RunUsage,
    /// Descriptions of impossible numbers in the stored usage: no budget can be enforced with them.
    pub problems: Vec<String>,
}

impl Recorded {
    /// The run no longer exists.
    pub(super) fn of_no_run(lost: HashSet<i64>) -> Self {
        Self { lost, state: None, used: RunUsage::default(), problems: Vec::new() }
    }
}

impl Database {
    /// Stores the results of `worker` for a run of `models` models.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for a text with the character NUL; when a statement fails. In both cases nothing is
    /// written.
    pub async fn record_run(
        &self,
        run: Uuid,
        worker: Uuid,
        models: u16,
        records: &RunRecords,
    ) -> Result<Recorded, StorageError> {
        const OPERATION: &str = "record the results of a run";
        records.check()?;
        self.in_service(FAILING, OPERATION, async |connection| {
            let recorded = record(connection, Worker { run, worker, models }, records).await?;
            Ok(recorded)
        })
        .await
    }
}

/// The run and worker of the records.
#[derive(Clone, Copy)]
struct Worker {
    run: Uuid,
    worker: Uuid,
    models: u16,
}

async fn record(transaction: &mut PgConnection, by: Worker, records: &RunRecords) -> sqlx::Result<Recorded> {
    let Some(state) = locked_state(transaction, by.run).await? else {
        return Ok(Recorded::of_no_run(records.tasks().collect()));
    };
    let mut lost = HashSet::new();
    let mut note_lost = |tasks: &mut dyn Iterator<Item = i64>, held: Vec<i64>| {
        let held: HashSet<i64> = held.into_iter().collect();
        lost.extend(tasks.filter(|task| !held.contains(task)));
    };
    if !records.ended.is_empty() {
        end_attempts(transaction, by.run, &records.ended).await?;
    }
    if !records.answers.is_empty() {
        let held = store_answers(transaction, by, &records.answers).await?;
        note_lost(&mut records.answers.iter().map(|answer| answer.task), held);
    }
    if !records.done.is_empty() {
        let held = finish(transaction, by, &records.done).await?;
        note_lost(&mut records.done.iter().map(|done| done.task), held);
    }
    let mut problems = Vec::new();
    let used = use_up(transaction, by.run, &records.ended).await?.read(&mut problems);
    Ok(Recorded { lost, state: Some(state), used, problems })
}

async fn end_attempts(connection: &mut PgConnection, run: Uuid, ended: &[AttemptEnded]) -> sqlx::Result<()> {
    let tokens = |part: fn((u64, u64)) -> u64| -> Vec<Option<i64>> {
        ended.iter().map(|ended| ended.tokens.map(|tokens| whole(part(tokens)))).collect()
    };
    let statuses: Vec<Option<i16>> = ended
        .iter()
        .map(|ended| {
            ended.http_status.map(|status| i16::try_from(status).expect("a status has three digits"))
        })
        .collect();
    sqlx::query_file!(
        "src/postgres/runs/end_attempts.sql",
        run,
        &ended.iter().map(|ended| ended.task).collect::<Vec<_>>(),
        &ended.iter().map(|ended| attempt_number(ended.number)).collect::<Vec<_>>(),
        &ended.iter().map(|ended| ended.at).collect::<Vec<_>>(),
        &ended.iter().map(|ended| ended.outcome.to_owned()).collect::<Vec<_>>(),
        &statuses as &[Option<i16>],
        &ended.iter().map(|ended| ended.latency_ms.map(whole)).collect::<Vec<_>>() as &[Option<i64>],
        &tokens(|(input, _)| input) as &[Option<i64>],
        &tokens(|(_, output)| output) as &[Option<i64>],
        &ended.iter().map(|ended| ended.cost_usd).collect::<Vec<_>>() as &[Option<f64>],
        &ended.iter().map(|ended| ended.provider_id.clone()).collect::<Vec<_>>() as &[Option<String>]
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

async fn store_answers(
    connection: &mut PgConnection,
    by: Worker,
    answers: &[PendingAnswer],
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_file_scalar!(
        "src/postgres/runs/keep_answers.sql",
        by.run,
        by.worker,
        &answers.iter().map(|answer| answer.task).collect::<Vec<_>>(),
        &answers.iter().map(|answer| answer.text.clone()).collect::<Vec<_>>(),
        &answers.iter().map(|answer| answer.metadata.clone()).collect::<Vec<_>>()
    )
    .fetch_all(on(connection))
    .await
}

/// Finishes tasks, stores the results of those that belong to the worker, and makes the tasks that waited for them
/// ready.
async fn finish(transaction: &mut PgConnection, by: Worker, done: &[TaskDone]) -> sqlx::Result<Vec<i64>> {
    let result_ids: Vec<Option<String>> =
        done.iter().map(|done| done.result.as_ref().map(|result| result.id.clone())).collect();
    let held = sqlx::query_file_scalar!(
        "src/postgres/runs/finish.sql",
        by.run,
        by.worker,
        &done.iter().map(|done| done.task).collect::<Vec<_>>(),
        &done.iter().map(|done| done.outcome.as_str().to_owned()).collect::<Vec<_>>(),
        &done.iter().map(|done| done.reason.clone()).collect::<Vec<_>>() as &[Option<String>],
        &done.iter().map(|done| done.output_id.clone()).collect::<Vec<_>>() as &[Option<String>],
        &result_ids as &[Option<String>]
    )
    .fetch_all(on(transaction))
    .await?;
    let finished: HashSet<i64> = held.iter().copied().collect();
    let finished = || done.iter().filter(|done| finished.contains(&done.task));
    let results: Vec<EvaluationResult> = finished().filter_map(|done| done.result.clone()).collect();
    if !results.is_empty() {
        insert_results(transaction, &results).await?;
    }
    let answered: HashSet<i32> =
        finished().filter(|done| done.result.is_none()).map(|done| done.query_place).collect();
    if !answered.is_empty() {
        let answered: Vec<i32> = answered.into_iter().collect();
        release_judgements(transaction, by.run, Some(&answered), by.models).await?;
    }
    Ok(held)
}

/// Adds usage and returns the new total.
async fn use_up(
    connection: &mut PgConnection,
    run: Uuid,
    ended: &[AttemptEnded],
) -> sqlx::Result<StoredUsage> {
    let completed = || ended.iter().filter(|ended| ended.outcome == COMPLETED);
    let tokens: u64 = completed().filter_map(|ended| ended.tokens).fold(0, |sum, (input, output)| {
        // The numbers come from a provider and may be wrong.
        sum.saturating_add(input).saturating_add(output)
    });
    let cost_usd: f64 = completed().filter_map(|ended| ended.cost_usd).sum();
    let without = |lacks: fn(&AttemptEnded) -> bool| completed().filter(|ended| lacks(ended)).count() as u64;
    sqlx::query_as!(
        StoredUsage,
        r#"
        update runs
        -- Limited to the greatest number; NULL stays NULL.
        set tokens = (tokens::numeric + least($2::bigint, 9223372036854775807 - tokens::numeric))::bigint, cost_usd = cost_usd + $3,
            without_usage = (without_usage::numeric + least($4::bigint, 9223372036854775807 - without_usage::numeric))::bigint,
            without_cost = (without_cost::numeric + least($5::bigint, 9223372036854775807 - without_cost::numeric))::bigint
        where id = $1
        returning requests as "requests?",
            (
                -- Negative if the count of one worker is negative or missing.
                select case
                    when min(coalesce(workers.requests, -1)) < 0 then -1
                    else least(coalesce(sum(workers.requests), 0), 9223372036854775807)::bigint
                end
                from run_workers as workers
                where workers.run_id = $1
            ) as worker_requests,
            tokens as "tokens?", cost_usd as "cost_usd?", without_usage as "without_usage?",
            without_cost as "without_cost?"
        "#,
        run,
        whole(tokens),
        cost_usd,
        whole(without(|ended| ended.tokens.is_none())),
        whole(without(|ended| ended.cost_usd.is_none()))
    )
    .fetch_one(on(connection))
    .await
}

/// The outcome of an attempt that the provider answered.
pub const COMPLETED: &str = "completed";

pub(super) fn attempt_number(number: u32) -> i32 {
    // No task has this many attempts.
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl RunRecords {
    /// Adds the records of `other`.
    pub fn append(&mut self, mut other: Self) {
        self.ended.append(&mut other.ended);
        self.answers.append(&mut other.answers);
        self.done.append(&mut other.done);
    }

    fn tasks(&self) -> impl Iterator<Item = i64> {
        let ended = self.ended.iter().map(|ended| ended.task);
        let answers = self.answers.iter().map(|answer| answer.task);
        ended.chain(answers).chain(self.done.iter().map(|done| done.task))
    }

    /// Checks that all texts can be stored.
    ///
    /// # Errors
    /// [`StorageError::Refused`] for one with the character NUL.
    pub fn check(&self) -> Result<(), StorageError> {
        let optional =
            |field: &str, text: Option<&String>| text.map_or(Ok(()), |text| check_text(field, text));
        for ended in &self.ended {
            optional("provider_id", ended.provider_id.as_ref())?;
        }
        for answer in &self.answers {
            check_text("answer", &answer.text)?;
            check_text("metadata", &answer.metadata)?;
        }
        for done in &self.done {
            optional("reason", done.reason.as_ref())?;
            done.result.as_ref().map_or(Ok(()), EvaluationResult::check)?;
        }
        Ok(())
    }
}
