//! Requests for runs.

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

/// [`MAX_QUERIES`] as a const parameter.
const LIMIT: u32 = MAX_QUERIES as u32;

/// A run to create: each model answers each query, and each judge judges each output by each metric, `repeats` times.
/// The queries are those of `query_ids`, or the newest ones that `theme` and the other conditions select.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewRun {
    /// Display name.
    name: Option<Label>,
    /// The ids of the queries. Excludes all other conditions.
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
    /// Maximum number of selected queries.
    #[serde(default)]
    limit: Whole<1, LIMIT, DEFAULT_LIMIT>,
    /// The models that answer.
    models: Entries<ClientId, 1, MAX_MODELS>,
    /// The models that judge, as a panel if there are several; `gpt-4` by default.
    judge_models: Option<Entries<ClientId, 1, MAX_JUDGES>>,
    /// Providers of unknown models whose names imply none: `openai` for every OpenAI-compatible server.
    providers: Option<BTreeMap<String, Label>>,
    /// The evaluation metrics whose prompts the judges use.
    evaluation_prompt_ids: Entries<ClientId, 1, MAX_METRICS>,
    #[serde(default)]
    mode: RunMode,
    /// How often each judge judges each output.
    #[serde(default)]
    repeats: Whole<1, MAX_REPEATS, 1>,
    /// Temperature of the models; the server's setting by default. Judges use 0.
    temperature: Option<Within<0, 2>>,
    /// Whether to reuse the verdict of an earlier result with the same fingerprint.
    #[serde(default = "yes")]
    use_cache: bool,
    /// Further metadata of each output: up to 65,536 bytes of JSON.
    metadata: Option<ExactObject>,
    /// The budget. When it is exhausted, the run stops and can be resumed.
    budget: Option<RunBudget>,
}

/// How to resume a run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ResumeRun {
    /// The new total budget, including previous use; unchanged by default.
    pub(crate) budget: Option<RunBudget>,
    /// Whether to repeat failed tasks and the judgements that depend on them.
    #[serde(default)]
    pub(crate) retry_failed: bool,
}

/// Conditions on the listed runs.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RunFilters {
    /// Only runs in this state.
    state: Option<RunStateName>,
}

/// A deleted run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeletedRun {
    pub(crate) id: String,
}

fn yes() -> bool {
    true
}

impl NewRun {
    /// The request for a run with this id.
    ///
    /// # Errors
    /// When fields contradict each other.
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
        // Providers that are absent follow from the names of the models.
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
                "the run has no model with this id",
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
            // Absent metadata mean no keys.
            metadata: self.metadata.map(ExactObject::into_inner).unwrap_or_default(),
            // An absent budget is unlimited.
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
