//! Runs: what is to be run, and how far it is.

use std::collections::BTreeMap;

use records::timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::postgres::runs::{RunState, RunTasks, TaskKind, TaskOutcome};
use uuid::Uuid;

use super::{ClientId, Conditions, EndDate, Entries, ExactObject, StartDate, Whole, Within};
use crate::{
    answer::ApiError,
    judging::{PlannedModel, RunBudget, RunMode, RunProgress, WantedQueries, WantedRun},
};

/// A run to make: each model answers each query, and each judge judges each answer by each metric, as often as `repeats`
/// says. The queries are those of `query_ids`, or else the newest that `theme` and the other conditions select.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewRun {
    /// What people call it.
    name: Option<String>,
    /// The queries, by their ids. Then nothing else may select any.
    query_ids: Option<Entries<ClientId, 1, 100_000>>,
    /// Only queries of this theme.
    theme: Option<String>,
    /// A condition on the queries' metadata, as ChromaDB's `where`.
    #[serde(rename = "where")]
    filter: Option<Value>,
    /// A condition on the queries' text, as ChromaDB's `where_document`.
    #[serde(rename = "where_document")]
    document: Option<Value>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
    /// Most queries that are selected.
    #[serde(default)]
    limit: Whole<1, 100_000, 1000>,
    /// The models that answer.
    models: Entries<ClientId, 1, 50>,
    /// The models that judge, a panel if there are several; `gpt-4` where the field is absent.
    judge_models: Option<Entries<ClientId, 1, 10>>,
    /// Providers of models that nobody knows and whose names suggest none: `openai` for every server that speaks its API.
    providers: Option<BTreeMap<String, String>>,
    /// The evaluation metrics whose prompts the judges are given.
    evaluation_prompt_ids: Entries<ClientId, 1, 100>,
    #[serde(default)]
    mode: RunMode,
    /// Times that each judge is asked the same.
    #[serde(default)]
    repeats: Whole<1, 100, 1>,
    /// With which models answer; the server's setting where it is absent. Judges are asked with 0.
    temperature: Option<Within<0, 2>>,
    /// Whether the verdict of an earlier result with the same fingerprint is taken instead of asking again.
    #[serde(default = "yes")]
    use_cache: bool,
    /// Further keys of each output.
    metadata: Option<ExactObject>,
    /// What it may use until it stops; it can be resumed then.
    budget: Option<RunBudget>,
}

/// How a run is to go on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ResumeRun {
    /// What it may use in all, what it has used before included; as before where it is absent.
    pub(crate) budget: Option<RunBudget>,
    /// Whether what failed, and what could not be judged for it, is done again.
    #[serde(default)]
    pub(crate) retry_failed: bool,
}

/// Which runs are meant.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RunFilters {
    /// Only runs in this state.
    state: Option<ShownState>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum ShownState {
    /// It is worked on.
    Running,
    /// Somebody ended it before it was complete.
    Cancelled,
    /// It cannot go on; `stop_reason` says why.
    Stopped,
    /// Everything is done.
    Completed,
}

/// A run, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ShownRun {
    id: String,
    name: Option<String>,
    state: ShownState,
    /// Processes that work on it at the moment. None may be able to: their logs say why.
    workers: u64,
    /// Why it is stopped.
    stop_reason: Option<String>,
    /// When it was made, UTC.
    created_at: String,
    /// When it was begun or resumed last, UTC.
    began_at: String,
    /// When it came to its state; null while it is running.
    ended_at: Option<String>,
    mode: RunMode,
    /// How many queries there are.
    queries: u32,
    models: Vec<PlannedModel>,
    judge_models: Vec<PlannedModel>,
    evaluation_prompt_ids: Vec<String>,
    repeats: u16,
    /// Models' answers.
    answers: ShownAnswers,
    /// Judgements: a unit is a query, model, metric, judge and repeat; in a comparison, an order of two models.
    units: ShownUnits,
    used: ShownUsage,
    budget: RunBudget,
    /// What is stored of the run and cannot be read; what would show it is empty or 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// How far models' answers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
struct ShownAnswers {
    total: u64,
    done: u64,
    /// They are outputs.
    answered: u64,
    /// The model or its provider declined.
    refused: u64,
    /// There is none.
    failed: u64,
}

/// How far judgements are. What is no score is counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
struct ShownUnits {
    total: u64,
    done: u64,
    scored: u64,
    /// The judge answered, and it cannot be read.
    unparsed: u64,
    /// The judge declined.
    refused: u64,
    /// There is no answer of the judge.
    failed: u64,
    /// There was nothing to judge.
    unanswered: u64,
}

/// What calls have used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
struct ShownUsage {
    /// Calls, failed ones too.
    requests: u64,
    /// Tokens, read and written.
    tokens: u64,
    /// USD, of calls whose price is known.
    cost_usd: f64,
    /// Answers that do not say how many tokens they took.
    without_usage: u64,
    /// Answers whose cost is not known.
    without_cost: u64,
}

/// A run that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeletedRun {
    pub(crate) id: String,
}

fn yes() -> bool {
    true
}

impl NewRun {
    /// What is wanted, to be made with this id.
    ///
    /// # Errors
    /// When fields do not go together.
    pub(crate) fn into_wanted(self, id: Uuid) -> Result<WantedRun, ApiError> {
        let conditions = Conditions {
            category: self.theme,
            model_id: None,
            filter: self.filter,
            document: self.document,
            start: self.start_date,
            end: self.end_date,
        };
        let selection = conditions.into_selection()?;
        let queries = match (self.query_ids, selection.is_all()) {
            (Some(ids), true) => {
                let mut ids: Vec<String> = texts(ids);
                let mut seen = std::collections::HashSet::new();
                ids.retain(|id| seen.insert(id.clone()));
                WantedQueries::Ids(ids)
            }
            (None, false) => WantedQueries::Selected { selection, limit: self.limit.get() },
            (Some(_), false) => {
                return Err(ApiError::invalid(
                    "query_ids",
                    "give them, or what selects queries, but not both",
                ));
            }
            (None, true) => {
                return Err(ApiError::invalid(
                    "theme",
                    "expected a theme, another condition, or `query_ids`",
                ));
            }
        };
        // Absent providers are those that the names of the models suggest.
        let providers = self.providers.unwrap_or_default();
        let named = |ids: Vec<String>| -> Vec<(String, Option<String>)> {
            ids.into_iter()
                .map(|id| {
                    let provider = providers.get(&id).cloned();
                    (id, provider)
                })
                .collect()
        };
        let models = named(texts(self.models));
        let judges = named(self.judge_models.map_or_else(|| vec!["gpt-4".to_owned()], texts));
        let is_named = |id: &String| models.iter().chain(&judges).any(|(named, _)| named == id);
        if let Some(id) = providers.keys().find(|id| !is_named(id)) {
            return Err(ApiError::invalid(format!("providers.{id}"), "the run has no such model"));
        }
        Ok(WantedRun {
            id,
            name: self.name,
            queries,
            mode: self.mode,
            models,
            judges,
            evaluation_prompt_ids: texts(self.evaluation_prompt_ids),
            repeats: u16::try_from(self.repeats.get()).expect("there are at most 100"),
            uses_cache: self.use_cache,
            temperature: self.temperature.map(Within::get),
            // Absent metadata are no keys.
            metadata: self.metadata.map(ExactObject::into_inner).unwrap_or_default(),
            // An absent budget is as much as it takes.
            budget: checked(self.budget.unwrap_or_default())?,
        })
    }
}

impl ResumeRun {
    /// The budget that the run is to have from now on, if it is another.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn checked_budget(&self) -> Result<Option<RunBudget>, ApiError> {
        self.budget.map(checked).transpose()
    }
}

fn checked(budget: RunBudget) -> Result<RunBudget, ApiError> {
    match budget.cost_usd {
        Some(cost_usd) if !(cost_usd.is_finite() && cost_usd > 0.0) => {
            Err(ApiError::invalid("budget.cost_usd", format!("expected a number above 0, found {cost_usd}")))
        }
        _ => Ok(budget),
    }
}

fn texts<const MAX: usize>(ids: Entries<ClientId, 1, MAX>) -> Vec<String> {
    ids.into_vec().into_iter().map(|id| id.0).collect()
}

impl RunFilters {
    pub(crate) fn state(&self) -> Option<RunState> {
        self.state.map(|state| match state {
            ShownState::Running => RunState::Running,
            ShownState::Cancelled => RunState::Cancelled,
            ShownState::Stopped => RunState::Stopped,
            ShownState::Completed => RunState::Completed,
        })
    }
}

impl From<RunState> for ShownState {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Running => Self::Running,
            RunState::Cancelled => Self::Cancelled,
            RunState::Stopped => Self::Stopped,
            RunState::Completed => Self::Completed,
        }
    }
}

impl ShownRun {
    /// Whether it may still change by itself.
    pub(crate) fn is_running(&self) -> bool {
        self.state == ShownState::Running
    }
}

impl From<RunProgress> for ShownRun {
    fn from(progress: RunProgress) -> Self {
        let RunProgress { run, plan, budget, tasks, workers } = progress;
        let (answers, units) = counted(&tasks);
        Self {
            id: run.id.to_string(),
            name: run.name,
            state: run.state.into(),
            workers,
            stop_reason: run.stop_reason,
            created_at: timestamp::format(run.created_at),
            began_at: timestamp::format(run.began_at),
            ended_at: run.ended_at.map(timestamp::format),
            mode: plan.as_ref().map_or(RunMode::default(), |plan| plan.mode),
            queries: plan.as_ref().map_or(0, |plan| plan.queries),
            models: plan.as_ref().map_or_else(Vec::new, |plan| plan.models.clone()),
            judge_models: plan.as_ref().map_or_else(Vec::new, |plan| plan.judges.clone()),
            evaluation_prompt_ids: plan
                .as_ref()
                .map_or_else(Vec::new, |plan| plan.metrics.iter().map(|metric| metric.id.clone()).collect()),
            repeats: plan.as_ref().map_or(0, |plan| plan.repeats),
            answers,
            units,
            used: ShownUsage {
                requests: run.used.requests,
                tokens: run.used.tokens,
                cost_usd: run.used.cost_usd,
                without_usage: run.used.without_usage,
                without_cost: run.used.without_cost,
            },
            budget,
            problems: run.problems,
        }
    }
}

fn counted(tasks: &[RunTasks]) -> (ShownAnswers, ShownUnits) {
    let count = |kind: TaskKind, is_meant: &dyn Fn(Option<TaskOutcome>) -> bool| {
        tasks
            .iter()
            .filter(|tasks| tasks.kind == kind && is_meant(tasks.outcome))
            .map(|tasks| tasks.count)
            .sum()
    };
    let of = |kind, outcome| count(kind, &|found| found == Some(outcome));
    let all = |kind| count(kind, &|_| true);
    let done = |kind| count(kind, &|found| found.is_some());
    let (answer, unit) = (TaskKind::Answer, TaskKind::Judgement);
    let answers = ShownAnswers {
        total: all(answer),
        done: done(answer),
        answered: of(answer, TaskOutcome::Answered),
        refused: of(answer, TaskOutcome::Refused),
        failed: of(answer, TaskOutcome::Failed),
    };
    let units = ShownUnits {
        total: all(unit),
        done: done(unit),
        scored: of(unit, TaskOutcome::Scored),
        unparsed: of(unit, TaskOutcome::Unparsed),
        refused: of(unit, TaskOutcome::Refused),
        failed: of(unit, TaskOutcome::Failed),
        unanswered: of(unit, TaskOutcome::Unanswered),
    };
    (answers, units)
}
