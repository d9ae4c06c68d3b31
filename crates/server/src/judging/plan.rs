//! What a request wants, with everything found that it names. What cannot be done is refused here, before any model is
//! called and paid.

use judge::{
    parse::Scale,
    rubric::{AnswerForm, BeyondScale, DEFAULT_SCALE, Inputs, Outputs as Shown, Rubric, RubricError},
};
use serde_json::{Map, Value};
use store::storage::Record;

use super::{Judging, models::Chosen};
use crate::{answer::ApiError, process::Process, wire::EvaluationMetrics};

/// What a request wants evaluated, but for the queries.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) theme: String,
    pub(crate) model_id: String,
    /// The provider of the model, if the request says.
    pub(crate) model_provider: Option<String>,
    pub(crate) evaluation_prompt_ids: Vec<String>,
    pub(crate) judge_model: String,
    /// The client's own keys of the output.
    pub(crate) metadata: Map<String, Value>,
}

/// The same, with everything found.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) theme: String,
    pub(crate) model: Chosen,
    pub(crate) judge: Chosen,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) metadata: Map<String, Value>,
}

/// A metric that a judge can be asked with.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) id: String,
    pub(crate) rubric: Rubric,
    pub(crate) beyond: BeyondScale,
}

/// A query for the model.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Its id, if it is a stored one.
    pub(crate) id: Option<String>,
    pub(crate) text: String,
    /// An answer known to be good: `reference` of its metadata.
    pub(crate) reference: Option<String>,
}

/// Keys of an output's metadata that say how it came to be.
pub(super) const OUTPUT_KEYS: [&str; 8] = [
    "provider",
    "provider_id",
    "model_version",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "cost_usd",
];

impl Plan {
    /// The names of the models that became known by this request's answers.
    pub(crate) fn newly_registered(&self) -> Vec<String> {
        let chosen = [&self.model, &self.judge].into_iter();
        let mut ids: Vec<String> = chosen
            .filter(|chosen| chosen.is_registered_now())
            .map(|chosen| format!("{} ({})", chosen.model.id, chosen.model.provider))
            .collect();
        ids.dedup();
        ids
    }
}

impl Question {
    /// A query with its metadata.
    pub(crate) fn new(id: Option<String>, text: String, metadata: &Map<String, Value>) -> Self {
        let reference = metadata.get("reference").and_then(Value::as_str).map(str::to_owned);
        Self { id, text, reference }
    }
}

impl Judging {
    /// Finds everything that `wanted` names.
    pub(crate) async fn plan(&self, wanted: Wanted, process: &Process) -> Result<Plan, ApiError> {
        let Wanted { theme, model_id, model_provider, evaluation_prompt_ids, judge_model, metadata } = wanted;
        if let Some(key) = OUTPUT_KEYS.iter().find(|key| metadata.contains_key(**key)) {
            return Err(ApiError::invalid(
                format!("metadata.{key}"),
                "the service says this of every output: use another name",
            ));
        }
        let provider = model_provider.as_deref();
        let model = self.models.choose("model_id", &model_id, provider, process).await?;
        // A model that judges itself is at the same provider.
        let provider = provider.filter(|_| judge_model == model_id);
        let judge = self.models.choose("judge_model", &judge_model, provider, process).await?;
        let found = self.metrics.find::<EvaluationMetrics>(&evaluation_prompt_ids, process).await?;
        let metrics = evaluation_prompt_ids
            .iter()
            .zip(found)
            .enumerate()
            .map(|(index, (id, record))| {
                let record = record.ok_or_else(|| {
                    ApiError::invalid(place(index), format!("no evaluation metric has the id `{id}`"))
                })?;
                Metric::new(record).map_err(|error| unusable(index, id, &error))
            })
            .collect::<Result<_, _>>()?;
        Ok(Plan { theme, model, judge, metrics, metadata })
    }
}

impl Plan {
    /// Checks that every metric can be asked about an answer to `question`.
    pub(super) fn check(&self, question: &Question) -> Result<(), ApiError> {
        for (index, metric) in self.metrics.iter().enumerate() {
            let prompt = metric.prompt(question, "");
            prompt.map_err(|error| unusable(index, &metric.id, &error))?;
        }
        Ok(())
    }
}

impl Metric {
    /// Reads a stored metric: its prompt is the rubric, and `scale_min`, `scale_max` and `clamp` of its metadata say
    /// what scores mean, 1 to 10 as the judge gives them where they do not.
    fn new(record: Record) -> Result<Self, RubricError> {
        let Record { id, text, metadata, created_at: _ } = record;
        let bound = |key, default| metadata.get(key).and_then(Value::as_f64).unwrap_or(default);
        let scale =
            Scale { min: bound("scale_min", DEFAULT_SCALE.min), max: bound("scale_max", DEFAULT_SCALE.max) };
        let rubric = Rubric::pointwise(&text, scale, AnswerForm::Json)?;
        let clamps = metadata.get("clamp") == Some(&Value::Bool(true));
        Ok(Self { id, rubric, beyond: if clamps { BeyondScale::Clamp } else { BeyondScale::Keep } })
    }

    /// What the judge sees.
    pub(super) fn inputs<'i>(&self, question: &'i Question, output: &'i str) -> Inputs<'i> {
        let reference = question.reference.as_deref();
        Inputs { query: &question.text, outputs: Shown::One(output), reference }
    }

    /// What the judge is asked.
    pub(super) fn prompt(&self, question: &Question, output: &str) -> Result<String, RubricError> {
        self.rubric.prompt(&self.inputs(question, output))
    }
}

fn place(index: usize) -> String {
    format!("evaluation_prompt_ids[{index}]")
}

fn unusable(index: usize, id: &str, error: &RubricError) -> ApiError {
    ApiError::invalid(place(index), format!("metric `{id}` cannot be used: {error}"))
}
