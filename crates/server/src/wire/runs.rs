//! Runs: what is to be run.

use std::collections::BTreeMap;

use judge::runs::{
    DEFAULT_JUDGE, DEFAULT_LIMIT, MAX_JUDGES, MAX_METRICS, MAX_MODELS, MAX_QUERIES, MAX_REPEATS, NamedModel,
    RunBudget, RunMode, RunQueries, RunRequest, RunStateName,
};
use records::shortened;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::postgres::runs::RunState;
use uuid::Uuid;

use super::{ClientId, Conditions, EndDate, Entries, ExactObject, Label, StartDate, Whole, Within};
use crate::answer::ApiError;

/// The same as a parameter of a type.
const LIMIT: u32 = MAX_QUERIES as u32;

/// A run to make: each model answers each query, and each judge judges each answer by each metric, as often as `repeats`
/// says. The queries are those of `query_ids`, or else the newest that `theme` and the other conditions select.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewRun {
    /// What people call it.
    name: Option<Label>,
    /// The queries, by their ids. Then nothing else may select any.
    query_ids: Option<Entries<ClientId, 1, MAX_QUERIES>>,
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
    limit: Whole<1, LIMIT, DEFAULT_LIMIT>,
    /// The models that answer.
    models: Entries<ClientId, 1, MAX_MODELS>,
    /// The models that judge, a panel if there are several; `gpt-4` where the field is absent.
    judge_models: Option<Entries<ClientId, 1, MAX_JUDGES>>,
    /// Providers of models that nobody knows and whose names suggest none: `openai` for every server that speaks its API.
    providers: Option<BTreeMap<String, Label>>,
    /// The evaluation metrics whose prompts the judges are given.
    evaluation_prompt_ids: Entries<ClientId, 1, MAX_METRICS>,
    #[serde(default)]
    mode: RunMode,
    /// Times that each judge is asked the same.
    #[serde(default)]
    repeats: Whole<1, MAX_REPEATS, 1>,
    /// With which models answer; the server's setting where it is absent. Judges are asked with 0.
    temperature: Option<Within<0, 2>>,
    /// Whether the verdict of an earlier result with the same fingerprint is taken instead of asking again.
    #[serde(default = "yes")]
    use_cache: bool,
    /// Further keys of each output: up to 65,536 bytes of JSON.
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
    state: Option<RunStateName>,
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
    /// What is asked for, to be made with this id.
    ///
    /// # Errors
    /// When fields do not go together.
    pub(crate) fn into_request(self, id: Uuid) -> Result<RunRequest, ApiError> {
        let conditions = Conditions {
            category: self.theme,
            model_id: None,
            filter: self.filter,
            document: self.document,
            start: self.start_date,
            end: self.end_date,
        };
        let selection = conditions.into_selection()?;
        let queries = RunQueries::new(self.query_ids.map(texts), selection, self.limit.get())?;
        // Absent providers are those that the names of the models suggest.
        let providers: BTreeMap<String, String> = self
            .providers
            .unwrap_or_default()
            .into_iter()
            .map(|(id, Label(provider))| (id, provider))
            .collect();
        let judges = self.judge_models.map_or_else(|| vec![DEFAULT_JUDGE.to_owned()], texts);
        let models = NamedModel::all(texts(self.models), &providers);
        let judges = NamedModel::all(judges, &providers);
        let is_named = |id: &String| models.iter().chain(&judges).any(|named| named.id == *id);
        if let Some(id) = providers.keys().find(|id| !is_named(id)) {
            return Err(ApiError::invalid(
                format!("providers.{}", shortened(id, 100)),
                "the run has no such model",
            ));
        }
        Ok(RunRequest {
            id,
            name: self.name.map(|Label(name)| name),
            queries,
            mode: self.mode,
            models,
            judges,
            evaluation_prompt_ids: texts(self.evaluation_prompt_ids),
            repeats: self.repeats.get(),
            uses_cache: self.use_cache,
            temperature: self.temperature.map(Within::get),
            // Absent metadata are no keys.
            metadata: self.metadata.map(ExactObject::into_inner).unwrap_or_default(),
            // An absent budget is as much as it takes.
            budget: self.budget.unwrap_or_default(),
        })
    }
}

fn texts<const MAX: usize>(ids: Entries<ClientId, 1, MAX>) -> Vec<String> {
    ids.into_vec().into_iter().map(|id| id.0).collect()
}

impl RunFilters {
    pub(crate) fn state(&self) -> Option<RunState> {
        self.state.map(RunState::from)
    }
}
