//! Metrics with their rubrics, and the queries that models answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::Record;

use super::{error::RunError, sources::RecordSource};
use crate::{
    parse::Scale,
    rubric::{AnswerForm, BeyondScale, DEFAULT_SCALE, Mode, Rubric, RubricError},
};

/// A metric that a judge can apply.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) id: String,
    pub(crate) rubric: Rubric,
    pub(crate) beyond: BeyondScale,
}

/// A metric as stored with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedMetric {
    /// The stored metric's id.
    pub id: String,
    /// Its prompt.
    pub rubric: String,
    /// Worst score.
    pub scale_min: f64,
    /// Best score.
    pub scale_max: f64,
    /// Whether scores outside the scale are clamped to it.
    pub clamps: bool,
}

/// A query for the model.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its id, if it is stored.
    pub id: Option<String>,
    /// The text for the model.
    pub text: String,
    /// A reference answer: `reference` of its metadata.
    pub reference: Option<String>,
}

impl Question {
    /// A query with its metadata.
    pub fn new(id: Option<String>, text: String, metadata: &Map<String, Value>) -> Self {
        let reference = metadata.get("reference").and_then(Value::as_str).map(str::to_owned);
        Self { id, text, reference }
    }
}

/// The metrics with these ids, from `evaluation_prompt_ids` of a request.
pub(crate) async fn find_metrics(
    source: &dyn RecordSource,
    ids: &[String],
    mode: Mode,
) -> Result<Vec<Metric>, RunError> {
    let found = source.find(ids).await?;
    ids.iter()
        .zip(found)
        .enumerate()
        .map(|(index, (id, record))| {
            let record = record.ok_or_else(|| {
                RunError::refused(place(index), format!("no evaluation metric has the id `{id}`"))
            })?;
            Metric::new(record, mode).map_err(|error| unusable(index, id, &error))
        })
        .collect()
}

/// The scale that a stored metric defines.
pub(super) fn scale_of(record: &Record) -> Scale {
    let bound = |key, default| record.metadata.get(key).and_then(Value::as_f64).unwrap_or(default);
    Scale { min: bound("scale_min", DEFAULT_SCALE.min), max: bound("scale_max", DEFAULT_SCALE.max) }
}

impl Metric {
    /// Parses a stored metric: its prompt is the rubric, and `scale_min`, `scale_max` and `clamp` of its metadata
    /// define the scale; the default is 1 to 10 without clamping.
    fn new(record: Record, mode: Mode) -> Result<Self, RubricError> {
        let Scale { min, max } = scale_of(&record);
        let Record { id, text, metadata, created_at: _, problems: _ } = record;
        let planned = PlannedMetric {
            id,
            rubric: text,
            scale_min: min,
            scale_max: max,
            clamps: metadata.get("clamp") == Some(&Value::Bool(true)),
        };
        Self::planned(&planned, mode)
    }

    /// Parses a metric stored with a run.
    pub(crate) fn planned(metric: &PlannedMetric, mode: Mode) -> Result<Self, RubricError> {
        let scale = Scale { min: metric.scale_min, max: metric.scale_max };
        let rubric = match mode {
            Mode::Pointwise => Rubric::pointwise(&metric.rubric, scale, AnswerForm::Json)?,
            Mode::Pairwise => Rubric::pairwise(&metric.rubric, AnswerForm::Json)?,
        };
        let beyond = if metric.clamps { BeyondScale::Clamp } else { BeyondScale::Keep };
        Ok(Self { id: metric.id.clone(), rubric, beyond })
    }
}

impl PlannedMetric {
    pub(crate) fn new(metric: &Metric) -> Self {
        let Scale { min, max } = metric.rubric.scale();
        Self {
            id: metric.id.clone(),
            rubric: metric.rubric.text().to_owned(),
            scale_min: min,
            scale_max: max,
            clamps: metric.beyond == BeyondScale::Clamp,
        }
    }
}

fn place(index: usize) -> String {
    format!("evaluation_prompt_ids[{index}]")
}

pub(super) fn unusable(index: usize, id: &str, error: &RubricError) -> RunError {
    RunError::refused(place(index), format!("metric `{id}` cannot be used: {error}"))
}
