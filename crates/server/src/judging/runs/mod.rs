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

mod caller;
mod lanes;
mod legacy_request;
mod plan;
mod postponed;
mod recorder;
mod request_digest;
mod runner;
mod task;
mod watch;

use std::sync::Arc;

use store::{
    postgres::{
        Database,
        runs::{RetryFailed, Run, RunQuery, RunState, RunTasks, RunUsage},
    },
    storage::{Selection, Storage},
};
use tokio::sync::Notify;
use uuid::Uuid;

pub use caller::RunError;
pub(crate) use plan::{PlannedMetric, PlannedModel, RunBudget, RunMode, RunPlan};
pub use runner::RunnerConfig;
pub(crate) use watch::RunWatch;

use self::watch::WatchedRuns;
use super::{Judging, Question, output::OUTPUT_KEYS};
use crate::{
    answer::{ApiError, now},
    embedding::EmbeddingModel,
    process::Process,
    records::Records,
    supervisor::{Need, Pulse},
    wire::{Outputs, Queries},
};

/// The runs of a database, and the judge that works on them. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    pub(crate) judging: Judging,
    pub(crate) outputs: Records<Outputs>,
    config: RunnerConfig,
    /// A run was made or resumed in this process.
    woken: Arc<Notify>,
    /// How the recorders of all its runs are.
    recording: Pulse,
    watched: WatchedRuns,
}

/// A run to make, but for what has to be found.
#[derive(Clone, Debug)]
pub(crate) struct WantedRun {
    pub(crate) id: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) queries: WantedQueries,
    pub(crate) mode: RunMode,
    /// Models with the provider that the request names.
    pub(crate) models: Vec<(String, Option<String>)>,
    pub(crate) judges: Vec<(String, Option<String>)>,
    pub(crate) evaluation_prompt_ids: Vec<String>,
    pub(crate) repeats: u16,
    pub(crate) uses_cache: bool,
    pub(crate) temperature: Option<f64>,
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
    pub(crate) budget: RunBudget,
}

/// Which queries models are asked.
#[derive(Clone, Debug)]
pub(crate) enum WantedQueries {
    /// Those with these ids.
    Ids(Vec<String>),
    /// The newest of the selected.
    Selected { selection: Selection, limit: u32 },
}

/// A run, and how far its tasks are.
#[derive(Clone, Debug)]
pub(crate) struct RunProgress {
    pub(crate) run: Run,
    /// `None` where it cannot be read, as `run.problems` tell.
    pub(crate) plan: Option<RunPlan>,
    pub(crate) budget: RunBudget,
    pub(crate) tasks: Vec<RunTasks>,
    /// Processes that work on it.
    pub(crate) workers: u64,
}

/// Units of one run: more would make a statement of many seconds of each.
const MAX_UNITS: u64 = 200_000;

impl Runs {
    /// Runs in the judge's database, whose outputs go into `storage`.
    pub fn new(
        judging: &Judging,
        storage: Arc<dyn Storage>,
        model: &EmbeddingModel,
        process: &Arc<Process>,
        config: RunnerConfig,
    ) -> Self {
        let outputs = Records::new(storage, model.clone(), Arc::clone(process));
        let recording = process.supervisor.pulse("recorder", Need::Upkeep);
        Self {
            judging: judging.clone(),
            outputs,
            config,
            woken: Arc::default(),
            recording,
            watched: WatchedRuns::default(),
        }
    }

    fn database(&self) -> &Database {
        &self.judging.database
    }

    /// Makes a run, once everything was found that it names. The same request with the same id finds the run that is
    /// there: `false`.
    pub(crate) async fn create(&self, wanted: WantedRun) -> Result<(RunProgress, bool), ApiError> {
        if let Some(run) = self.measured("find_run", self.database().run(wanted.id)).await? {
            let progress = self.progress_of(run).await?;
            let is_of = |plan: &RunPlan| request_digest::is_of(&plan.request, &wanted);
            if progress.plan.as_ref().is_some_and(is_of) {
                return Ok((progress, false));
            }
            let reason = "another request with this key has begun a run: use another key".to_owned();
            return Err(ApiError::Conflict { field: "Idempotency-Key".to_owned(), reason });
        }
        let (plan, queries) = self.plan(&wanted).await?;
        let shape = plan.shape().map_err(|error| ApiError::invalid("models", error.to_string()))?;
        let (_, units) = shape.tasks(queries.len());
        if units > MAX_UNITS {
            return Err(ApiError::invalid(
                "limit",
                format!(
                    "the run would have {units} units, and at most {MAX_UNITS} are allowed: make several"
                ),
            ));
        }
        let made = now();
        let json = |value: serde_json::Result<String>| value.expect("plans are JSON");
        let run = Run {
            id: wanted.id,
            name: wanted.name,
            plan: json(serde_json::to_string(&plan)),
            allowance: json(serde_json::to_string(&wanted.budget)),
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
        Ok((self.progress(run.id).await?, true))
    }

    /// The run `id`.
    pub(crate) async fn find(&self, id: Uuid) -> Result<Run, ApiError> {
        let found = self.measured("find_run", self.database().run(id)).await?;
        found.ok_or_else(|| no_run(id))
    }

    /// The run `id` and how far it is.
    pub(crate) async fn progress(&self, id: Uuid) -> Result<RunProgress, ApiError> {
        let run = self.find(id).await?;
        self.progress_of(run).await
    }

    /// Up to `limit` runs, newest first.
    pub(crate) async fn list(
        &self,
        state: Option<RunState>,
        after: Option<(time::PrimitiveDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<RunProgress>, ApiError> {
        let runs = self.measured("list_runs", self.database().runs(state, after, limit)).await?;
        let mut listed = Vec::with_capacity(runs.len());
        for run in runs {
            listed.push(self.progress_of(run).await?);
        }
        Ok(listed)
    }

    async fn progress_of(&self, mut run: Run) -> Result<RunProgress, ApiError> {
        let tasks = self.measured("count_tasks", self.database().run_tasks(run.id)).await?;
        // One run that cannot be read is no reason to show no others.
        let plan = runner::stored("plan", &run.plan).map_err(|problem| run.problems.push(problem)).ok();
        let budget = runner::stored("allowance", &run.allowance).unwrap_or_else(|problem| {
            run.problems.push(problem);
            RunBudget::default()
        });
        let workers = match run.state {
            RunState::Running => self.measured("count_workers", self.database().run_workers(run.id)).await?,
            // Those that finish a last call do not count.
            RunState::Cancelled | RunState::Stopped | RunState::Completed => 0,
        };
        Ok(RunProgress { run, plan, budget, tasks, workers })
    }

    /// Ends a run before it is complete. Calls that are under way are finished and kept.
    pub(crate) async fn cancel(&self, id: Uuid) -> Result<RunProgress, ApiError> {
        let ended = self.measured("end_run", self.database().end_run(id, RunState::Cancelled, None)).await?;
        let progress = self.progress(id).await?;
        match (ended, progress.run.state) {
            // Twice is as good as once.
            (true, _) | (false, RunState::Cancelled) => Ok(progress),
            (false, state) => Err(in_state(id, state, "only one that is running can be cancelled")),
        }
    }

    /// Lets a run go on that was cancelled or stopped, or with `retries_failed` do again what failed.
    pub(crate) async fn resume(
        &self,
        id: Uuid,
        budget: Option<RunBudget>,
        retries_failed: bool,
    ) -> Result<RunProgress, ApiError> {
        let run = self.find(id).await?;
        if run.state == RunState::Completed && !retries_failed {
            return Err(in_state(id, run.state, "give `retry_failed` to do again what failed"));
        }
        let unreadable = |reason: String| ApiError::Conflict {
            field: "id".to_owned(),
            reason: format!("run `{id}` cannot be resumed: {reason}"),
        };
        let plan: RunPlan = runner::stored("plan", &run.plan).map_err(unreadable)?;
        let shape = plan.shape().map_err(|error| unreadable(error.to_string()))?;
        self.check(&plan).await?;
        let retry = retries_failed.then_some(RetryFailed { models: shape.models });
        let allowance = budget.map(|budget| serde_json::to_string(&budget).expect("budgets are JSON"));
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
    pub(crate) async fn delete(&self, id: Uuid) -> Result<(), ApiError> {
        match self.measured("delete_run", self.database().delete_run(id)).await? {
            None => Err(no_run(id)),
            Some(RunState::Running) => Err(in_state(id, RunState::Running, "cancel it first")),
            Some(RunState::Cancelled | RunState::Stopped | RunState::Completed) => Ok(()),
        }
    }

    /// Finds everything that a run names.
    async fn plan(&self, wanted: &WantedRun) -> Result<(RunPlan, Vec<RunQuery>), ApiError> {
        let process = self.outputs.process();
        if let Some(key) = OUTPUT_KEYS.iter().find(|key| wanted.metadata.contains_key(**key)) {
            return Err(ApiError::invalid(
                format!("metadata.{key}"),
                "the service says this of every output: use another name",
            ));
        }
        let models = self.planned("models", &wanted.models).await?;
        let judges = self.planned("judge_models", &wanted.judges).await?;
        if wanted.mode == RunMode::Pairwise && models.len() < 2 {
            return Err(ApiError::invalid("models", "expected two models or more to compare, found one"));
        }
        let found =
            self.judging.find_metrics(&wanted.evaluation_prompt_ids, wanted.mode.into(), process).await?;
        let queries = self.queries(&wanted.queries).await?;
        let judge =
            self.judging.models.choose("judge_models", &judges[0].id, Some(&judges[0].provider), process);
        let judge = judge.await?.model;
        for query in &queries {
            let question = Question {
                id: query.id.clone(),
                text: query.text.clone(),
                reference: query.reference.clone(),
            };
            super::plan::check(&found, &judge, &question)?;
        }
        let plan = RunPlan {
            mode: wanted.mode,
            models,
            metrics: found.iter().map(PlannedMetric::new).collect(),
            judges,
            repeats: wanted.repeats,
            temperature: wanted.temperature.unwrap_or(self.judging.temperature),
            uses_cache: wanted.uses_cache,
            metadata: wanted.metadata.clone(),
            queries: u32::try_from(queries.len()).expect("a run has fewer queries"),
            request: request_digest::digest(wanted),
        };
        Ok((plan, queries))
    }

    /// Checks that this process can call everybody whom the plan names.
    async fn check(&self, plan: &RunPlan) -> Result<(), ApiError> {
        for (field, models) in [("models", &plan.models), ("judge_models", &plan.judges)] {
            for PlannedModel { id, provider } in models {
                self.judging.models.choose(field, id, Some(provider), self.outputs.process()).await?;
            }
        }
        Ok(())
    }

    async fn planned(
        &self,
        field: &'static str,
        wanted: &[(String, Option<String>)],
    ) -> Result<Vec<PlannedModel>, ApiError> {
        let mut planned: Vec<PlannedModel> = Vec::with_capacity(wanted.len());
        for (index, (id, provider)) in wanted.iter().enumerate() {
            let chosen = self.judging.models.choose(field, id, provider.as_deref(), self.outputs.process());
            let model = chosen.await?.model;
            if planned.iter().any(|planned| planned.id == model.id) {
                return Err(ApiError::invalid(format!("{field}[{index}]"), format!("`{id}` is there twice")));
            }
            planned.push(PlannedModel { id: model.id, provider: model.provider });
        }
        Ok(planned)
    }

    async fn queries(&self, wanted: &WantedQueries) -> Result<Vec<RunQuery>, ApiError> {
        let process = self.outputs.process();
        let records = match wanted {
            WantedQueries::Ids(ids) => {
                let found = self.judging.queries.find::<Queries>(ids, process).await?;
                let found = found.into_iter().zip(ids).enumerate().map(|(index, (record, id))| {
                    record.ok_or_else(|| {
                        ApiError::invalid(
                            format!("query_ids[{index}]"),
                            format!("no query has the id `{id}`"),
                        )
                    })
                });
                found.collect::<Result<Vec<_>, _>>()?
            }
            WantedQueries::Selected { selection, limit } => {
                self.judging.queries.selected::<Queries>(selection, *limit, process).await?
            }
        };
        if records.is_empty() {
            return Err(ApiError::invalid("theme", "no query is selected: store some, or select others"));
        }
        let query = |record: store::storage::Record| {
            let theme = record.metadata.get("theme").and_then(|theme| theme.as_str());
            let theme = theme.unwrap_or("unknown").to_owned();
            let Question { id, text, reference } =
                Question::new(Some(record.id), record.text, &record.metadata);
            RunQuery { id, text, theme, reference }
        };
        Ok(records.into_iter().map(query).collect())
    }
}

fn no_run(id: Uuid) -> ApiError {
    ApiError::NoRecord { noun: "run", id: id.to_string() }
}

fn in_state(id: Uuid, state: RunState, remedy: &str) -> ApiError {
    ApiError::Conflict {
        field: "id".to_owned(),
        reason: format!("run `{id}` is {}: {remedy}", state.as_str()),
    }
}
