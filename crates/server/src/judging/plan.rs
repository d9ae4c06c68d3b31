//! What a request wants, with everything found that it names. What cannot be done is refused here, before any model is
//! called and paid.

use judge::{
    parse::Scale,
    registry::Model,
    rubric::{AnswerForm, BeyondScale, DEFAULT_SCALE, Mode, Outputs as Shown, Rubric, RubricError},
};
use serde_json::{Map, Value};
use store::storage::Record;

use super::{
    Judging,
    judgement::{Inquiry, Matter},
    models::Chosen,
    output::OUTPUT_KEYS,
    runs::PlannedMetric,
};
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
        let metrics = self.find_metrics(&evaluation_prompt_ids, Mode::Pointwise, process).await?;
        Ok(Plan { theme, model, judge, metrics, metadata })
    }

    /// The metrics with these ids, which `evaluation_prompt_ids` of a request names.
    pub(super) async fn find_metrics(
        &self,
        ids: &[String],
        mode: Mode,
        process: &Process,
    ) -> Result<Vec<Metric>, ApiError> {
        let found = self.metrics.find::<EvaluationMetrics>(ids, process).await?;
        ids.iter()
            .zip(found)
            .enumerate()
            .map(|(index, (id, record))| {
                let record = record.ok_or_else(|| {
                    ApiError::invalid(place(index), format!("no evaluation metric has the id `{id}`"))
                })?;
                Metric::new(record, mode).map_err(|error| unusable(index, id, &error))
            })
            .collect()
    }
}

/// Checks that every metric can be asked about an answer to `question`.
pub(super) fn check(metrics: &[Metric], judge: &Model, question: &Question) -> Result<(), ApiError> {
    for (index, metric) in metrics.iter().enumerate() {
        let outputs = match metric.rubric.mode() {
            Mode::Pointwise => Shown::One(""),
            Mode::Pairwise => Shown::Two("", ""),
        };
        let inquiry = Inquiry::new(judge, metric, Matter { question, outputs, repeat: 0 });
        inquiry.map_err(|error| unusable(index, &metric.id, &error))?;
    }
    Ok(())
}

impl Metric {
    /// Reads a stored metric: its prompt is the rubric, and `scale_min`, `scale_max` and `clamp` of its metadata say
    /// what scores mean, 1 to 10 as the judge gives them where they do not.
    fn new(record: Record, mode: Mode) -> Result<Self, RubricError> {
        let Record { id, text, metadata, created_at: _, problems: _ } = record;
        let bound = |key, default| metadata.get(key).and_then(Value::as_f64).unwrap_or(default);
        let planned = PlannedMetric {
            id,
            rubric: text,
            scale_min: bound("scale_min", DEFAULT_SCALE.min),
            scale_max: bound("scale_max", DEFAULT_SCALE.max),
            clamps: metadata.get("clamp") == Some(&Value::Bool(true)),
        };
        Self::planned(&planned, mode)
    }

    /// Reads a metric that a run has kept.
    pub(super) fn planned(metric: &PlannedMetric, mode: Mode) -> Result<Self, RubricError> {
        let scale = Scale { min: metric.scale_min, max: metric.scale_max };
        let rubric = match mode {
            Mode::Pointwise => Rubric::pointwise(&metric.rubric, scale, AnswerForm::Json)?,
            Mode::Pairwise => Rubric::pairwise(&metric.rubric, AnswerForm::Json)?,
        };
        let beyond = if metric.clamps { BeyondScale::Clamp } else { BeyondScale::Keep };
        Ok(Self { id: metric.id.clone(), rubric, beyond })
    }
}

fn place(index: usize) -> String {
    format!("evaluation_prompt_ids[{index}]")
}

fn unusable(index: usize, id: &str, error: &RubricError) -> ApiError {
    ApiError::invalid(place(index), format!("metric `{id}` cannot be used: {error}"))
}
