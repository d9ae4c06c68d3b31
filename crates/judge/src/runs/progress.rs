//! The progress of a run, as all front ends show it.

use records::{MAX_LABEL_BYTES, timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use store::postgres::runs::{Run, RunState, RunTasks, RunUsage, TaskKind, TaskOutcome};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::plan::{PlanOutline, PlannedModel, RunBudget, RunMode, executable, stored};

/// A run and its progress.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ShownRun")]
pub struct RunProgress {
    /// Its id.
    #[serde(serialize_with = "id_text")]
    #[schemars(with = "String")]
    pub id: Uuid,
    /// Its name.
    pub name: Option<String>,
    /// Its state.
    #[serde(serialize_with = "state_name")]
    #[schemars(with = "RunStateName")]
    pub state: RunState,
    /// Processes that execute it at the moment. If there are none, the processes' logs give the reason.
    pub workers: u64,
    /// Why it was stopped.
    pub stop_reason: Option<String>,
    /// When it was created, UTC.
    #[serde(serialize_with = "time_text")]
    #[schemars(with = "String")]
    pub created_at: PrimitiveDateTime,
    /// When it was created or last resumed, UTC.
    #[serde(serialize_with = "time_text")]
    #[schemars(with = "String")]
    pub began_at: PrimitiveDateTime,
    /// When it reached its state; null while it is running.
    #[serde(serialize_with = "optional_time_text")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<PrimitiveDateTime>,
    /// Whether answers are scored or compared.
    pub mode: RunMode,
    /// Number of queries.
    pub queries: u32,
    /// The models that answer.
    pub models: Vec<PlannedModel>,
    /// The models that judge.
    pub judge_models: Vec<PlannedModel>,
    /// The metrics, by their ids.
    pub evaluation_prompt_ids: Vec<String>,
    /// How often each judge is asked the same question.
    pub repeats: u16,
    /// Models' answers.
    pub answers: AnswerCounts,
    /// Judgements: a unit is a query, model, metric, judge and repeat; in a comparison, also an order of two models.
    pub units: UnitCounts,
    /// What its calls have used.
    #[serde(serialize_with = "usage")]
    #[schemars(with = "UsageCounts")]
    pub used: RunUsage,
    /// Its limits.
    pub budget: RunBudget,
    /// Problems of stored values that cannot be parsed; their fields are empty or 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Digest of its request, to distinguish a retry from another request; none if the plan cannot be parsed.
    #[serde(skip)]
    pub(super) request_digest: Option<String>,
}

/// The state of a run, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RunStateName {
    /// It is being executed.
    Running,
    /// It was cancelled before it was complete.
    Cancelled,
    /// It cannot continue; `stop_reason` says why.
    Stopped,
    /// All tasks are done.
    Completed,
}

/// Progress of models' answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct AnswerCounts {
    /// Number of answers.
    pub total: u64,
    /// Finished ones.
    pub done: u64,
    /// Stored as outputs.
    pub answered: u64,
    /// The model or its provider declined.
    pub refused: u64,
    /// The call failed.
    pub failed: u64,
}

/// Progress of judgements. Those without a score are counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct UnitCounts {
    /// Number of judgements.
    pub total: u64,
    /// Finished ones.
    pub done: u64,
    /// The judge gave a score, or a winner.
    pub scored: u64,
    /// The judge's answer cannot be parsed.
    pub unparsed: u64,
    /// The judge declined.
    pub refused: u64,
    /// The call to the judge failed.
    pub failed: u64,
    /// There was no output to judge.
    pub unanswered: u64,
}

/// What calls have used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
struct UsageCounts {
    /// Calls, including failed ones.
    requests: u64,
    /// Tokens, read and written.
    tokens: u64,
    /// USD, of calls whose price is known.
    cost_usd: f64,
    /// Answers that do not report their tokens.
    without_usage: u64,
    /// Answers of unknown cost.
    without_cost: u64,
}

impl RunProgress {
    /// The progress of `run` without the [counts](Self::count) of its tasks.
    pub(super) fn new(mut run: Run) -> Self {
        // One invalid run must not prevent showing others. The reason why a plan is left out is a problem already.
        let is_left_out = |problem: &String| problem.starts_with("its plan has ");
        let plan: Option<PlanOutline> = match run.problems.iter().any(is_left_out) {
            true => None,
            false => stored("plan", &run.plan).map_err(|problem| run.problems.push(problem)).ok(),
        };
        // The parts that are not shown must be readable too, or the run cannot be executed.
        if plan.is_some()
            && let Err(problem) = executable(&run)
        {
            run.problems.push(problem);
        }
        if run.is_name_cut {
            let problem = format!("its name exceeds {MAX_LABEL_BYTES} bytes and is truncated");
            run.problems.push(problem);
        }
        let budget = stored("allowance", &run.allowance).unwrap_or_else(|problem| {
            run.problems.push(problem);
            RunBudget::default()
        });
        let mut progress = Self {
            id: run.id,
            name: run.name,
            state: run.state,
            workers: 0,
            stop_reason: run.stop_reason,
            created_at: run.created_at,
            began_at: run.began_at,
            ended_at: run.ended_at,
            mode: RunMode::default(),
            queries: 0,
            models: Vec::new(),
            judge_models: Vec::new(),
            evaluation_prompt_ids: Vec::new(),
            repeats: 0,
            answers: AnswerCounts::default(),
            units: UnitCounts::default(),
            used: run.used,
            budget,
            problems: run.problems,
            request_digest: None,
        };
        if let Some(plan) = plan {
            progress.mode = plan.mode;
            progress.queries = plan.queries;
            progress.models = plan.models;
            progress.judge_models = plan.judges;
            progress.evaluation_prompt_ids = plan.metrics.into_iter().map(|metric| metric.id).collect();
            progress.repeats = plan.repeats;
            progress.request_digest = Some(plan.request);
        }
        progress
    }

    /// Adds the counts of the run's tasks and workers.
    pub(super) fn count(&mut self, tasks: &[RunTasks], workers: u64) {
        self.problems.extend(tasks.iter().filter_map(|tasks| tasks.problem.clone()));
        (self.answers, self.units) = counted(tasks);
        self.workers = workers;
    }

    /// Approximate size of its names, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let models = self.models.iter().chain(&self.judge_models);
        let models: usize = models.map(|model| model.id.len() + model.provider.len()).sum();
        let metrics: usize = self.evaluation_prompt_ids.iter().map(String::len).sum();
        let name = self.name.as_ref().map_or(0, String::len);
        name + models + metrics + self.stop_reason.as_ref().map_or(0, String::len)
    }

    /// Whether its progress may still change.
    pub fn is_running(&self) -> bool {
        self.state == RunState::Running
    }
}

impl UnitCounts {
    /// Those without a measurement.
    pub fn left_out(&self) -> u64 {
        self.unparsed + self.refused + self.failed + self.unanswered
    }
}

impl From<RunStateName> for RunState {
    fn from(name: RunStateName) -> Self {
        match name {
            RunStateName::Running => Self::Running,
            RunStateName::Cancelled => Self::Cancelled,
            RunStateName::Stopped => Self::Stopped,
            RunStateName::Completed => Self::Completed,
        }
    }
}

fn counted(tasks: &[RunTasks]) -> (AnswerCounts, UnitCounts) {
    let (mut answers, mut units) = (AnswerCounts::default(), UnitCounts::default());
    for RunTasks { kind, outcome, is_done, count, problem: _ } in tasks {
        let (total, done) = match kind {
            Some(TaskKind::Answer) => (&mut answers.total, &mut answers.done),
            Some(TaskKind::Judgement) => (&mut units.total, &mut units.done),
            // Their kind is unknown.
            None => continue,
        };
        *total += count;
        *done += if *is_done { *count } else { 0 };
        let (Some(kind), Some(outcome)) = (kind, outcome) else { continue };
        let of_outcome = match (kind, outcome) {
            (TaskKind::Answer, TaskOutcome::Answered) => &mut answers.answered,
            (TaskKind::Answer, TaskOutcome::Refused) => &mut answers.refused,
            (TaskKind::Answer, TaskOutcome::Failed) => &mut answers.failed,
            (TaskKind::Judgement, TaskOutcome::Scored) => &mut units.scored,
            (TaskKind::Judgement, TaskOutcome::Unparsed) => &mut units.unparsed,
            (TaskKind::Judgement, TaskOutcome::Refused) => &mut units.refused,
            (TaskKind::Judgement, TaskOutcome::Failed) => &mut units.failed,
            (TaskKind::Judgement, TaskOutcome::Unanswered) => &mut units.unanswered,
            // Tasks never end with these outcomes.
            (TaskKind::Answer, _) | (TaskKind::Judgement, TaskOutcome::Answered) => continue,
        };
        *of_outcome += count;
    }
    (answers, units)
}

fn id_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn state_name<S: Serializer>(state: &RunState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

fn time_text<S: Serializer>(time: &PrimitiveDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp::format(*time))
}

fn optional_time_text<S: Serializer>(
    time: &Option<PrimitiveDateTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(timestamp::format).serialize(serializer)
}

fn usage<S: Serializer>(used: &RunUsage, serializer: S) -> Result<S::Ok, S::Error> {
    let RunUsage { requests, tokens, cost_usd, without_usage, without_cost } = *used;
    UsageCounts { requests, tokens, cost_usd, without_usage, without_cost }.serialize(serializer)
}
