//! Runs: many queries × models × metrics × judges × repeats, worked on in the background by any number of processes.
//!
//! Entry points: [`Runs::create`] makes one, [`Runs::work_on`] does it, [`Runs::work_on_all`] all. `plan` is what a run asks, `runner` claims its
//! tasks, `task` does one, `recorder` writes down what was done.
//!
//! Why a crash at any moment loses no answer and repeats no call whose answer was recorded:
//! 1. An attempt is committed before its call is sent.
//! 2. What a call brought is committed with the attempt's end, in one transaction: a judge's words with the result and the
//!    task's end, a model's words with the task. From then on nobody makes that call again.
//! 3. An output is stored after that, by an id that follows from the run and the task or the provider's answer; whoever
//!    takes over a task whose answer is kept stores it again, which changes nothing.
//! 4. A worker that counts as dead but is not can write nothing any more of a task that another has claimed.

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
    postgres::{
        Database,
        runs::{MAX_PLAN_BYTES, RetryFailed, Run, RunQuery, RunState, RunUsage},
    },
    room::Room,
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
pub use watch::{RunWatch, SeenRun};

use self::{
    plan::{RunPlan, plan_of},
    recorder::Pulse,
    watch::WatchedRuns,
};
use crate::engine::{
    Judging, PlannedMetric, Question, RunError, check_bytes, judgement, metric::find_metrics,
};

/// The runs of a database, and the judge that works on them. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    judging: Judging,
    config: RunnerConfig,
    /// A run was made or resumed in this process.
    woken: Arc<Notify>,
    /// How the recorders of all its runs are.
    recording: Pulse,
    watched: WatchedRuns,
    /// For runs that are being made: each has many texts in memory.
    making: Arc<Semaphore>,
    /// For the plans of runs that are worked on.
    plans: Room,
    /// For their tasks.
    room: Room,
}

/// A run that a request asked for.
#[derive(Debug)]
pub enum Begun {
    /// It was made.
    New(Box<RunProgress>),
    /// The same request has made it before.
    Before(Box<RunProgress>),
}

/// Whether a resumed run does again what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It does, and so what could not be judged for it.
    Failed,
    /// It does what was not done.
    Nothing,
}

/// Runs that are being made at once.
const MADE_AT_ONCE: usize = 2;
/// About so many bytes the names of a list of runs have.
const LIST_BYTES: usize = 4 << 20;
/// Units of one run: more would make a statement of many seconds of each.
const MAX_UNITS: u64 = 200_000;

impl Runs {
    /// Runs in the judge's database.
    pub fn new(judging: &Judging, config: RunnerConfig) -> Self {
        Self {
            judging: judging.clone(),
            config,
            woken: Arc::default(),
            recording: Pulse::default(),
            watched: WatchedRuns::default(),
            making: Arc::new(Semaphore::new(MADE_AT_ONCE)),
            plans: runner::plans_room(),
            room: ready::tasks_room(),
        }
    }

    /// The judge that works on them.
    pub fn judging(&self) -> &Judging {
        &self.judging
    }

    /// How what writes down the work is.
    pub fn recorder_state(&self) -> RecorderState {
        self.recording.state()
    }

    fn database(&self) -> &Database {
        &self.judging.database
    }

    /// Makes a run, once everything was found that it names. The same request with the same id finds the run that is
    /// there.
    ///
    /// # Errors
    /// [`RunError::Refused`] with the field; [`RunError::Conflict`] when another request has made a run with this id; when a
    /// store or service fails.
    pub async fn create(&self, request: RunRequest) -> Result<Begun, RunError> {
        request.check()?;
        let _turn = self.making.acquire().await.expect("it is never closed");
        if let Some(run) = self.measured("find_run", self.database().run(request.id)).await? {
            let progress = self.progress_of(run).await?;
            let is_same = |digest: &String| request_digest::is_of(digest, &request);
            if progress.request_digest.as_ref().is_some_and(is_same) {
                return Ok(Begun::Before(Box::new(progress)));
            }
            let reason = "another request with this key has begun a run: use another key".to_owned();
            return Err(RunError::Conflict { field: "Idempotency-Key".to_owned(), reason });
        }
        let (plan, queries) = self.plan(&request).await?;
        let shape = plan.shape().map_err(|error| RunError::refused("models", error.to_string()))?;
        let (_, units) = shape.tasks(queries.len());
        if units > MAX_UNITS {
            let reason = format!(
                "the run would have {units} units, and at most {MAX_UNITS} are allowed: make several"
            );
            return Err(RunError::refused("limit", reason));
        }
        let plan = json(&plan);
        // Names and metadata have limits of their own.
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

    /// The run `id` and how far it is.
    ///
    /// # Errors
    /// When there is no such run, or PostgreSQL fails.
    pub async fn progress(&self, id: Uuid) -> Result<RunProgress, RunError> {
        let run = self.find(id).await?;
        self.progress_of(run).await
    }

    /// Up to `limit` runs, newest first, and whether there are more: long names make a list shorter.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn list(
        &self,
        state: Option<RunState>,
        after: Option<(PrimitiveDateTime, Uuid)>,
        limit: u32,
    ) -> Result<(Vec<RunProgress>, bool), RunError> {
        // One more tells whether there is more.
        let listed = self.database().runs(state, after, limit.saturating_add(1));
        let mut ids = self.measured("list_runs", listed).await?;
        let limit = usize::try_from(limit).expect("a limit fits into memory");
        let mut has_more = ids.len() > limit;
        ids.truncate(limit);
        let (mut listed, mut bytes) = (Vec::with_capacity(ids.len()), 0);
        for (_, id) in ids {
            // Its row alone is read: plans are large.
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
        // The plan, which may be large, is read and let go first.
        let mut progress = RunProgress::new(run);
        let id = progress.id;
        let tasks = self.measured("count_tasks", self.database().run_tasks(id)).await?;
        let workers = match progress.state {
            RunState::Running => self.measured("count_workers", self.database().run_workers(id)).await?,
            // Those that finish a last call do not count.
            RunState::Cancelled | RunState::Stopped | RunState::Completed => 0,
        };
        progress.count(&tasks, workers);
        Ok(progress)
    }

    /// Ends a run before it is complete. Calls that are under way are finished and kept.
    ///
    /// # Errors
    /// When there is no such run, it is complete or stopped, or PostgreSQL fails.
    pub async fn cancel(&self, id: Uuid) -> Result<RunProgress, RunError> {
        let ended = self.measured("end_run", self.database().end_run(id, RunState::Cancelled, None)).await?;
        let progress = self.progress(id).await?;
        match (ended, progress.state) {
            // Twice is as good as once.
            (true, _) | (false, RunState::Cancelled) => Ok(progress),
            (false, state) => Err(in_state(id, state, "only one that is running can be cancelled")),
        }
    }

    /// Resumes a run that was cancelled or stopped, or one that is complete to do again what failed; with another
    /// `budget` if one is given.
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
            return Err(in_state(id, run.state, "give `retry_failed` to do again what failed"));
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

    /// Deletes a run with its results; its outputs stay.
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

    /// Finds everything that a run names.
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

    /// Checks that this process can call everybody whom the plan names.
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
                return Err(RunError::refused(format!("{field}[{index}]"), format!("`{id}` is there twice")));
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
            return Err(RunError::refused("theme", "no query is selected: store some, or select others"));
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

/// As it is stored.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plans and budgets are JSON")
}

fn question(query: &RunQuery) -> Question {
    Question { id: query.id.clone(), text: query.text.clone(), reference: query.reference.clone() }
}

/// Stores say that an answer of theirs would be too large: the run's `field` asked for it.
fn too_large(error: RunError, field: &str) -> RunError {
    match error {
        RunError::Refused { field: limit, .. } if limit == "limit" => {
            RunError::refused(field, "they have more bytes together than a run may read: make several runs")
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
