//! Evaluation requests and responses, and models.

use judge::{
    engine::{Evaluated, Evaluation, EvaluationRequest, FailedQuery, Question},
    registry::Model,
    runs::DEFAULT_JUDGE,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::postgres::RegisteredModel;

use super::{ClientId, Entries, ExactObject, Label, LaxBool, LaxWhole, Outputs, Resource};
use crate::answer::ApiError;

/// A query for a model, and how its output is judged.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EvaluateQuery {
    /// The prompt for the model.
    query: String,
    /// The model. An unknown one is registered when it first answers.
    model_id: ClientId,
    theme: Label,
    /// The evaluation metrics whose prompts the judge uses.
    evaluation_prompt_ids: Entries<ClientId, 1, 100>,
    /// The model that judges.
    #[serde(default)]
    judge_model: JudgeModel,
    /// The provider of an unknown model whose name implies none: `openai` for every OpenAI-compatible server.
    model_provider: Option<Label>,
    /// Further metadata of the output. `reference` is a reference answer, for metrics whose prompts use one.
    metadata: Option<ExactObject>,
}

/// The queries of a theme for a model, and how its outputs are judged.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EvaluateTheme {
    /// The theme whose newest queries are sent.
    theme: String,
    /// The model. An unknown one is registered when it first answers.
    model_id: ClientId,
    /// The evaluation metrics whose prompts the judge uses.
    evaluation_prompt_ids: Entries<ClientId, 1, 100>,
    /// The model that judges.
    #[serde(default)]
    judge_model: JudgeModel,
    /// As in `EvaluateQuery`.
    model_provider: Option<Label>,
    /// Maximum number of queries.
    #[serde(default)]
    limit: LaxWhole<1, 100, 10>,
    /// Further metadata of each output.
    metadata: Option<ExactObject>,
}

/// The model that judges; `gpt-4` by default.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
struct JudgeModel(ClientId);

impl Default for JudgeModel {
    fn default() -> Self {
        Self(ClientId(DEFAULT_JUDGE.to_owned()))
    }
}

/// An output and its evaluations.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EvaluatedOutputResponse {
    output: <Outputs as Resource>::Stored,
    /// One per metric, in the order of the request.
    evaluations: Vec<EvaluationResponse>,
}

/// The evaluation of an output by one metric.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EvaluationResponse {
    /// The id of the result, as in `GET /api/v1/results`.
    id: String,
    /// The judge's score; null if it gave none, with the reason in `metadata.status`.
    score: Option<f64>,
    /// `status` (`scored`, `unparsed`, `refused` or `failed`), `out_of_range`, the judge's response as `raw_text`,
    /// and the usage of the call.
    metadata: Map<String, Value>,
}

/// The outcome of one query of a theme.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ThemeQueryResponse {
    Evaluated(EvaluatedOutputResponse),
    Failed {
        /// The query.
        query: String,
        /// Why it has no output.
        error: String,
    },
}

/// A model to register. An existing model with this id is changed.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewModel {
    /// The provider's name of the model.
    id: ClientId,
    /// `openai` (for every OpenAI-compatible server), `anthropic` or `google`.
    provider: Label,
    /// Display name; the id by default.
    name: Option<Label>,
    /// Whether the model is suitable as a judge.
    #[serde(default = "yes")]
    is_judge_compatible: LaxBool,
}

/// A model.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelResponse {
    id: String,
    name: String,
    provider: String,
    is_judge_compatible: bool,
}

fn yes() -> LaxBool {
    LaxBool(true)
}

impl EvaluateQuery {
    /// The request and its query.
    pub(crate) fn into_request(self) -> (EvaluationRequest, Question) {
        let Self { query, model_id, theme, evaluation_prompt_ids, judge_model, model_provider, metadata } =
            self;
        // Absent metadata mean no keys.
        let metadata = metadata.map(ExactObject::into_inner).unwrap_or_default();
        let question = Question::new(None, query, &metadata);
        let request = EvaluationRequest {
            theme: theme.0,
            model_id: model_id.0,
            model_provider: model_provider.map(|provider| provider.0),
            evaluation_prompt_ids: ids(evaluation_prompt_ids),
            judge_model: judge_model.0.0,
            metadata,
        };
        (request, question)
    }
}

impl EvaluateTheme {
    /// The request and the maximum number of queries.
    pub(crate) fn into_request(self) -> (EvaluationRequest, u32) {
        let Self { theme, model_id, evaluation_prompt_ids, judge_model, model_provider, limit, metadata } =
            self;
        let request = EvaluationRequest {
            theme,
            model_id: model_id.0,
            model_provider: model_provider.map(|provider| provider.0),
            evaluation_prompt_ids: ids(evaluation_prompt_ids),
            judge_model: judge_model.0.0,
            // Absent metadata mean no keys.
            metadata: metadata.map(ExactObject::into_inner).unwrap_or_default(),
        };
        (request, limit.get())
    }
}

fn ids(ids: Entries<ClientId, 1, 100>) -> Vec<String> {
    ids.into_vec().into_iter().map(|id| id.0).collect()
}

impl From<Evaluated> for EvaluatedOutputResponse {
    fn from(evaluated: Evaluated) -> Self {
        let Evaluated { output, evaluations } = evaluated;
        let evaluations = evaluations
            .into_iter()
            .map(|Evaluation { id, score, metadata }| EvaluationResponse { id, score, metadata });
        Self { output: output.into(), evaluations: evaluations.collect() }
    }
}

impl From<Result<Evaluated, FailedQuery>> for ThemeQueryResponse {
    fn from(result: Result<Evaluated, FailedQuery>) -> Self {
        match result {
            Ok(evaluated) => Self::Evaluated(evaluated.into()),
            Err(FailedQuery { query, error }) => {
                Self::Failed { query, error: ApiError::from(error).public_message() }
            }
        }
    }
}

impl From<NewModel> for RegisteredModel {
    fn from(new: NewModel) -> Self {
        let NewModel {
            id: ClientId(id),
            provider: Label(provider),
            name,
            is_judge_compatible: LaxBool(is_judge_compatible),
        } = new;
        Self { name: name.map_or_else(|| id.clone(), |Label(name)| name), id, provider, is_judge_compatible }
    }
}

impl From<RegisteredModel> for ModelResponse {
    fn from(model: RegisteredModel) -> Self {
        let RegisteredModel { id, name, provider, is_judge_compatible } = model;
        Self { id, name, provider, is_judge_compatible }
    }
}

impl From<Model> for ModelResponse {
    fn from(model: Model) -> Self {
        let Model { id, name, provider, is_judge_compatible, .. } = model;
        Self { id, name, provider, is_judge_compatible }
    }
}
