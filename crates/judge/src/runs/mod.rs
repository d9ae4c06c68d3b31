//! Runs: many queries × models × metrics × judges × repeats, executed in the background by any number of processes.
//!
//! Entry points: [`Runs::create`] creates a run, [`Runs::work_on`] executes one, [`Runs::work_on_all`] all. `plan` is
//! the content of a run, `runner` claims its tasks, `task` executes one, `recorder` records progress.
//!
//! Why a crash at any time loses no answer and repeats no call whose answer was recorded:
//! 1. An attempt is committed before its call is sent.
//! 2. The answer is committed with the end of the attempt, in one transaction: a judge's answer with the result and the
//!    end of the task, a model's answer with the task. From then on, the call is never repeated.
//! 3. The output is stored after that, with an id derived from the run and the task or from the provider's answer. If
//!    another worker takes over a task with a recorded answer, it stores the output again, which changes nothing.
//! 4. A worker that is falsely considered dead cannot write anything for a task that another has claimed.

mod attempts;
mod config;
mod execution;
mod lanes;
mod legacy_request;
mod plan;
mod postponed;
mod progress;
mod ready;
mod recorder;
mod request;
mod request_digest;
mod result;
mod runner;
mod shutdown;
mod task;
mod watch;

use std::{fmt, sync::Arc};

use records::{Service, timestamp};
use serde::Serialize;
use store::{
    memory_budget::MemoryBudget,
    postgres::{
        Database,
        runs::{MAX_PLAN_BYTES, RetryFailed, Run, RunQuery, RunState, RunUsage},
    },
    storage::{Record, StorageError},
};
use time::PrimitiveDateTime;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

pub use config::RunnerConfig;
pub use plan::{PlannedModel, RunBudget, RunMode};
pub use progress::{AnswerCounts, RunProgress, RunStateName, UnitCounts};
pub use recorder::RecorderState;
pub use request::{
    DEFAULT_JUDGE, DEFAULT_LIMIT, MAX_JUDGES, MAX_METRICS, MAX_MODELS, MAX_QUERIES, MAX_REPEATS, NamedModel,
    RunQueries, RunRequest,
};
pub use shutdown::Shutdown;
pub use watch::{RunSnapshot, RunWatch};

use self::{
    plan::{RunPlan, plan_of},
    recorder::RecorderHealth,
    watch::WatchedRuns,
};
use crate::engine::{
    Judging, PlannedMetric, Question, RunError, check_bytes, judgement, metric::find_metrics,
};

/// The runs of a database, and the judge that executes them. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    judging: Judging,
    config: RunnerConfig,
    /// Notified when a run was created or resumed in this process.
    woken: Arc<Notify>,
    /// The health of the recorders of all its runs.
    recording: RecorderHealth,
    watched: WatchedRuns,
    /// Limits concurrent creations: each has many texts in memory.
    making: Arc<Semaphore>,
    /// Memory limit for the plans of active runs.
    plan_memory: MemoryBudget,
    /// Memory limit for their tasks.
    task_memory: MemoryBudget,
}

/// The result of a request for a run.
#[derive(Debug)]
pub enum Begun {
    /// It was created.
    New(Box<RunProgress>),
    /// The same request has created it before.
    Before(Box<RunProgress>),
}

/// Whether a resumed run retries failed tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Failed tasks are retried, and judgements that depend on them.
    Failed,
    /// Only unfinished tasks are executed.
    Nothing,
}

/// Runs that are created concurrently.
const MAX_CONCURRENT_CREATES: usize = 2;
/// Approximate limit for the names in a list of runs, in bytes.
const LIST_BYTES: usize = 4 << 20;
/// Most units of one run: with more, statements over all of them would take many seconds.
const MAX_UNITS: u64 = 200_000;

impl Runs {
    /// Runs in the judge's database.
    pub fn new(judging: &Judging, config: RunnerConfig) -> Self {
        Self {
            judging: judging.clone(),
            config,
            woken: Arc::default(),
            recording: RecorderHealth::default(),
            watched: WatchedRuns::default(),
            making: Arc::new(Semaphore::new(MAX_CONCURRENT_CREATES)),
            plan_memory: runner::plan_memory(),
            task_memory: ready::task_memory(),
        }
    }

    /// The judge that executes them.
    pub fn judging(&self) -> &Judging {
        &self.judging
    }

    /// The health of the recorders.
    pub fn recorder_state(&self) -> RecorderState {
        self.recording.state()
    }

    fn database(&self) -> &Database {
        &self.judging.database
    }

    /// Creates a run after resolving all of its names. If the same request with the same id was sent before, returns
    /// the existing run.
    ///
    /// # Errors
    /// [`RunError::Refused`] with the field; [`RunError::Conflict`] when another request has created a run with this
    /// id; when a store or service fails.
    pub async fn create(&self, request: RunRequest) -> Result<Begun, RunError> {
        request.check()?;
        let _turn = self.making.acquire().await.expect("it is never closed");
        if let Some(run) = self.measured("find_run", self.database().run(request.id)).await? {
            let progress = self.progress_of(run).await?;
            let is_same = |digest: &String| request_digest::is_of(digest, &request);
            if progress.request_digest.as_ref().is_some_and(is_same) {
                return Ok(Begun::Before(Box::new(progress)));
            }
            let reason = "another request with this key has created a run: use another key".to_owned();
            return Err(RunError::Conflict { field: "Idempotency-Key".to_owned(), reason });
        }
        let (plan, queries) = self.plan(&request).await?;
        let shape = plan.shape().map_err(|error| RunError::refused("models", error.to_string()))?;
        let (_, units) = shape.tasks(queries.len());
        if units > MAX_UNITS {
            let reason = format!(
                "the run would have {units} units, but at most {MAX_UNITS} are allowed: split it into several runs"
            );
            return Err(RunError::refused("limit", reason));
        }
        let plan = json(&plan);
        // Names and metadata have their own limits.
        check_bytes("evaluation_prompt_ids", plan.len(), MAX_PLAN_BYTES)?;
        let made = timestamp::now();
        let run = Run {
            id: request.id,
            name: request.name,
            is_name_cut: false,
            plan,
            allowance: json(&request.budget),
            state: RunState::Running,
            stop_reason: None,
            created_at: made,
            began_at: made,
            ended_at: None,
            used: RunUsage::default(),
            problems: Vec::new(),
        };
        self.measured("create_run", self.database().create_run(&run, &queries, &shape)).await?;
        self.woken.notify_one();
        Ok(Begun::New(Box::new(self.progress(run.id).await?)))
    }

    /// The run `id`.
    async fn find(&self, id: Uuid) -> Result<Run, RunError> {
        let found = self.measured("find_run", self.database().run(id)).await?;
        found.ok_or_else(|| no_run(id))
    }

    /// The run `id` and its progress.
    ///
    /// # Errors
    /// When there is no such run, or PostgreSQL fails.
    pub async fn progress(&self, id: Uuid) -> Result<RunProgress, RunError> {
        let run = self.find(id).await?;
        self.progress_of(run).await
    }

    /// Up to `limit` runs, newest first, and whether there are more. Long names shorten the list.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn list(
        &self,
        state: Option<RunState>,
        after: Option<(PrimitiveDateTime, Uuid)>,
        limit: u32,
    ) -> Result<(Vec<RunProgress>, bool), RunError> {
        // One more shows whether there are more.
        let listed = self.database().runs(state, after, limit.saturating_add(1));
        let mut ids = self.measured("list_runs", listed).await?;
        let limit = usize::try_from(limit).expect("a limit fits into memory");
        let mut has_more = ids.len() > limit;
        ids.truncate(limit);
        let (mut listed, mut bytes) = (Vec::with_capacity(ids.len()), 0);
        for (_, id) in ids {
            // One row at a time, since plans are large.
            let Some(run) = self.measured("find_run", self.database().run(id)).await? else { continue };
            let progress = self.progress_of(run).await?;
            bytes += progress.bytes();
            if bytes > LIST_BYTES && !listed.is_empty() {
                has_more = true;
                break;
            }
            listed.push(progress);
        }
        Ok((listed, has_more))
    }

    async fn progress_of(&self, run: Run) -> Result<RunProgress, RunError> {
        // Reads and drops the plan first, which may be large.
        let mut progress = RunProgress::new(run);
        let id = progress.id;
        let tasks = self.measured("count_tasks", self.database().run_tasks(id)).await?;
        let workers = match progress.state {
            RunState::Running => self.measured("count_workers", self.database().run_workers(id)).await?,
            // Workers that finish their last call do not count.
            RunState::Cancelled | RunState::Stopped | RunState::Completed => 0,
        };
        progress.count(&tasks, workers);
        Ok(progress)
    }

    /// Cancels a run. Calls in progress are finished and recorded.
    ///
    /// # Errors
    /// When there is no such run, it is complete or stopped, or PostgreSQL fails.
    pub async fn cancel(&self, id: Uuid) -> Result<RunProgress, RunError> {
        let ended = self.measured("end_run", self.database().end_run(id, RunState::Cancelled, None)).await?;
        let progress = self.progress(id).await?;
        match (ended, progress.state) {
            // Cancelling is idempotent.
            (true, _) | (false, RunState::Cancelled) => Ok(progress),
            (false, state) => Err(in_state(id, state, "only a running run can be cancelled")),
        }
    }

    /// Resumes a cancelled or stopped run, or a completed one to retry failed tasks; with another `budget` if one is
    /// given.
    ///
    /// # Errors
    /// When there is no such run, it cannot be resumed, or a store or service fails.
    pub async fn resume(
        &self,
        id: Uuid,
        budget: Option<RunBudget>,
        retry: Retry,
    ) -> Result<RunProgress, RunError> {
        budget.map_or(Ok(()), |budget| budget.check())?;
        let run = self.find(id).await?;
        if run.state == RunState::Completed && retry == Retry::Nothing {
            return Err(in_state(id, run.state, "set `retry_failed` to retry failed tasks"));
        }
        let unreadable = |reason: String| RunError::Conflict {
            field: "id".to_owned(),
            reason: format!("run `{id}` cannot be resumed: {reason}"),
        };
        let plan: RunPlan = plan_of(&run).map_err(unreadable)?;
        let shape = plan.shape().map_err(|error| unreadable(error.to_string()))?;
        self.check(&plan).await?;
        let retry = (retry == Retry::Failed).then_some(RetryFailed { models: shape.models });
        let allowance = budget.as_ref().map(json);
        let resumed = self.database().resume_run(id, allowance.as_deref(), retry);
        match self.measured("resume_run", resumed).await? {
            None => Err(no_run(id)),
            Some(RunState::Running) => {
                Err(in_state(id, RunState::Running, "wait for its end, or cancel it first"))
            }
            Some(RunState::Cancelled | RunState::Stopped | RunState::Completed) => {
                self.woken.notify_one();
                self.progress(id).await
            }
        }
    }

    /// Deletes a run with its results, but not its outputs.
    ///
    /// # Errors
    /// When there is no such run, it is running, or PostgreSQL fails.
    pub async fn delete(&self, id: Uuid) -> Result<(), RunError> {
        match self.measured("delete_run", self.database().delete_run(id)).await? {
            None => Err(no_run(id)),
            Some(RunState::Running) => Err(in_state(id, RunState::Running, "cancel it first")),
            Some(RunState::Cancelled | RunState::Stopped | RunState::Completed) => Ok(()),
        }
    }

    /// Resolves the names of a run.
    async fn plan(&self, request: &RunRequest) -> Result<(RunPlan, Vec<RunQuery>), RunError> {
        let models = self.planned("models", &request.models).await?;
        let judges = self.planned("judge_models", &request.judges).await?;
        if request.mode == RunMode::Pairwise && models.len() < 2 {
            return Err(RunError::refused("models", "expected two models or more to compare, found one"));
        }
        let source = &*self.judging.metrics;
        let metrics = find_metrics(source, &request.evaluation_prompt_ids, request.mode.into()).await;
        let metrics = metrics.map_err(|error| too_large(error, "evaluation_prompt_ids"))?;
        let queries = self.queries(&request.queries).await?;
        let judge = self.judging.models.choose("judge_models", &judges[0].id, Some(&judges[0].provider));
        let judge = judge.await?.model;
        for query in &queries {
            judgement::check(&metrics, &judge, &question(query))?;
        }
        let plan = RunPlan {
            mode: request.mode,
            models,
            metrics: metrics.iter().map(PlannedMetric::new).collect(),
            judges,
            repeats: u16::try_from(request.repeats).expect("it was checked"),
            temperature: request.temperature.unwrap_or(self.judging.temperature),
            uses_cache: request.uses_cache,
            metadata: request.metadata.clone(),
            queries: u32::try_from(queries.len()).expect("a run has fewer queries"),
            request: request_digest::digest(request),
        };
        Ok((plan, queries))
    }

    /// Checks that this process can call all models of the plan.
    async fn check(&self, plan: &RunPlan) -> Result<(), RunError> {
        for (field, models) in [("models", &plan.models), ("judge_models", &plan.judges)] {
            for PlannedModel { id, provider } in models {
                self.judging.models.choose(field, id, Some(provider)).await?;
            }
        }
        Ok(())
    }

    async fn planned(
        &self,
        field: &'static str,
        wanted: &[NamedModel],
    ) -> Result<Vec<PlannedModel>, RunError> {
        let mut planned: Vec<PlannedModel> = Vec::with_capacity(wanted.len());
        for (index, NamedModel { id, provider }) in wanted.iter().enumerate() {
            let model = self.judging.models.choose(field, id, provider.as_deref()).await?.model;
            if planned.iter().any(|planned| planned.id == model.id) {
                return Err(RunError::refused(format!("{field}[{index}]"), format!("duplicate `{id}`")));
            }
            planned.push(PlannedModel { id: model.id, provider: model.provider });
        }
        Ok(planned)
    }

    async fn queries(&self, queries: &RunQueries) -> Result<Vec<RunQuery>, RunError> {
        let source = &self.judging.queries;
        let records = match queries {
            RunQueries::Ids(ids) => {
                let found = source.find(ids).await.map_err(|error| too_large(error, "query_ids"))?;
                let found = found.into_iter().zip(ids).enumerate();
                let found = found.map(|(index, (record, id))| {
                    record.ok_or_else(|| {
                        let reason = format!("no query has the id `{id}`");
                        RunError::refused(format!("query_ids[{index}]"), reason)
                    })
                });
                found.collect::<Result<Vec<_>, _>>()?
            }
            RunQueries::Selected { selection, limit } => {
                let selected = source.selected(selection, *limit).await;
                selected.map_err(|error| too_large(error, "limit"))?
            }
        };
        if records.is_empty() {
            return Err(RunError::refused(
                "theme",
                "no query matches the selection: store queries, or change the selection",
            ));
        }
        let query = |record: Record| {
            let theme = record.metadata.get("theme").and_then(|theme| theme.as_str());
            let theme = theme.unwrap_or("unknown").to_owned();
            let Question { id, text, reference } =
                Question::new(Some(record.id), record.text, &record.metadata);
            RunQuery { id, text, theme, reference }
        };
        Ok(records.into_iter().map(query).collect())
    }

    async fn measured<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, RunError> {
        Ok(self.judging.observer.storage(Service::Judge, operation, work).await?)
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The stored form.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plans and budgets are JSON")
}

fn question(query: &RunQuery) -> Question {
    Question { id: query.id.clone(), text: query.text.clone(), reference: query.reference.clone() }
}

/// Converts an error of a store about a too large response, which the run's `field` requested.
fn too_large(error: RunError, field: &str) -> RunError {
    match error {
        RunError::Refused { field: limit, reason } if limit == "limit" => {
            let split = ", or split it into several runs by `query_ids`";
            RunError::refused(field, format!("{reason}{split}"))
        }
        error => error,
    }
}

fn no_run(id: Uuid) -> RunError {
    RunError::NotFound { noun: "run", id: id.to_string() }
}

fn in_state(id: Uuid, state: RunState, remedy: &str) -> RunError {
    RunError::Conflict {
        field: "id".to_owned(),
        reason: format!("run `{id}` is {}: {remedy}", state.as_str()),
    }
}
