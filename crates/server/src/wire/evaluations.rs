//! What is to be evaluated, and what came of it; and models.

use judge::{
    engine::{Evaluated, Evaluation, EvaluationRequest, FailedQuery, Question},
    registry::Model,
    runs::DEFAULT_JUDGE,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::postgres::RegisteredModel;

use super::{ClientId, Entries, ExactObject, Label, LaxWhole, Outputs, Resource};
use crate::answer::ApiError;

/// A query for a model, and how its answer is judged.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EvaluateQuery {
    /// What the model is asked.
    query: String,
    /// The model. One that nobody knows is registered with its first answer.
    model_id: ClientId,
    theme: Label,
    /// The evaluation metrics whose prompts the judge is given.
    evaluation_prompt_ids: Entries<ClientId, 1, 100>,
    /// The model that judges.
    #[serde(default)]
    judge_model: JudgeModel,
    /// The provider of a model that nobody knows and whose name suggests none: `openai` for every server that speaks
    /// its API.
    model_provider: Option<Label>,
    /// Further keys of the output. `reference` is an answer known to be good, for metrics that show one.
    metadata: Option<ExactObject>,
}

/// The queries of a theme for a model, and how its answers are judged.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EvaluateTheme {
    /// Its newest queries are asked.
    theme: String,
    /// The model. One that nobody knows is registered with its first answer.
    model_id: ClientId,
    /// The evaluation metrics whose prompts the judge is given.
    evaluation_prompt_ids: Entries<ClientId, 1, 100>,
    /// The model that judges.
    #[serde(default)]
    judge_model: JudgeModel,
    /// As for one query.
    model_provider: Option<Label>,
    /// Most queries that are asked.
    #[serde(default)]
    limit: LaxWhole<1, 100, 10>,
    /// Further keys of each output.
    metadata: Option<ExactObject>,
}

/// The model that judges; `gpt-4` where the field is absent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
struct JudgeModel(ClientId);

impl Default for JudgeModel {
    fn default() -> Self {
        Self(ClientId(DEFAULT_JUDGE.to_owned()))
    }
}

/// An output, and what the judge said of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownEvaluated {
    output: <Outputs as Resource>::Stored,
    /// One a metric, in their order.
    evaluations: Vec<ShownEvaluation>,
}

/// What a judge said of an output by one metric.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownEvaluation {
    /// Of the result, as in `GET /api/v1/results`.
    id: String,
    /// As the judge gave it; null where it gave none, and `metadata.status` says why.
    score: Option<f64>,
    /// `status` (`scored`, `unparsed`, `refused` or `failed`), `out_of_range`, the judge's words as `raw_text`, and what
    /// the call took.
    metadata: Map<String, Value>,
}

/// What came of a query of a theme.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ShownOfTheme {
    Evaluated(ShownEvaluated),
    Failed {
        /// The query.
        query: String,
        /// Why it has no output.
        error: String,
    },
}

/// A model to register; one of this id is changed.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewModel {
    /// What the provider calls it.
    id: ClientId,
    /// `openai` (and every server that speaks its API), `anthropic` or `google`.
    provider: Label,
    /// What people call it; its id where it is absent.
    name: Option<Label>,
    /// Whether its verdicts are worth asking for.
    #[serde(default = "yes")]
    is_judge_compatible: bool,
}

/// A model.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownModel {
    id: String,
    name: String,
    provider: String,
    is_judge_compatible: bool,
}

fn yes() -> bool {
    true
}

impl EvaluateQuery {
    /// What is asked for, and of which query.
    pub(crate) fn into_request(self) -> (EvaluationRequest, Question) {
        let Self { query, model_id, theme, evaluation_prompt_ids, judge_model, model_provider, metadata } =
            self;
        // Absent metadata are no keys.
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
    /// What is asked for, and of how many queries.
    pub(crate) fn into_request(self) -> (EvaluationRequest, u32) {
        let Self { theme, model_id, evaluation_prompt_ids, judge_model, model_provider, limit, metadata } =
            self;
        let request = EvaluationRequest {
            theme,
            model_id: model_id.0,
            model_provider: model_provider.map(|provider| provider.0),
            evaluation_prompt_ids: ids(evaluation_prompt_ids),
            judge_model: judge_model.0.0,
            // Absent metadata are no keys.
            metadata: metadata.map(ExactObject::into_inner).unwrap_or_default(),
        };
        (request, limit.get())
    }
}

fn ids(ids: Entries<ClientId, 1, 100>) -> Vec<String> {
    ids.into_vec().into_iter().map(|id| id.0).collect()
}

impl From<Evaluated> for ShownEvaluated {
    fn from(evaluated: Evaluated) -> Self {
        let Evaluated { output, evaluations } = evaluated;
        let evaluations = evaluations.into_iter().map(|Evaluation { id, score, metadata }| ShownEvaluation {
            id,
            score,
            metadata,
        });
        Self { output: output.into(), evaluations: evaluations.collect() }
    }
}

impl From<Result<Evaluated, FailedQuery>> for ShownOfTheme {
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
        let NewModel { id: ClientId(id), provider: Label(provider), name, is_judge_compatible } = new;
        Self { name: name.map_or_else(|| id.clone(), |Label(name)| name), id, provider, is_judge_compatible }
    }
}

impl From<RegisteredModel> for ShownModel {
    fn from(model: RegisteredModel) -> Self {
        let RegisteredModel { id, name, provider, is_judge_compatible } = model;
        Self { id, name, provider, is_judge_compatible }
    }
}

impl From<Model> for ShownModel {
    fn from(model: Model) -> Self {
        let Model { id, name, provider, is_judge_compatible, .. } = model;
        Self { id, name, provider, is_judge_compatible }
    }
}
