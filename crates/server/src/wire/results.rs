//! What judges said of outputs.

use records::timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::postgres::{EvaluationResult, ResultSelection};
use time::Duration;

use super::{EndDate, StartDate, Within};

/// Which results are meant: those that satisfy everything that is given.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResultFilters {
    /// Only of this theme.
    theme: Option<String>,
    /// Only of this model's outputs.
    model_id: Option<String>,
    /// Only by this evaluation metric.
    evaluation_prompt_id: Option<String>,
    /// Only with a score of at least this.
    min_score: Option<Within<0, 10>>,
    /// Only with a score of at most this.
    max_score: Option<Within<0, 10>>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
}

impl From<ResultFilters> for ResultSelection {
    fn from(filters: ResultFilters) -> Self {
        let ResultFilters {
            theme,
            model_id,
            evaluation_prompt_id,
            min_score,
            max_score,
            start_date,
            end_date,
        } = filters;
        Self {
            theme,
            model_id,
            evaluation_prompt_id,
            min_score: min_score.map(Within::get),
            max_score: max_score.map(Within::get),
            from: start_date.map(|start| start.0),
            // Times are whole microseconds.
            until: end_date.and_then(|end| end.0).map(|end| end - Duration::MICROSECOND),
        }
    }
}

/// What a judge said of an output. Results of the old services may lack everything but the id.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownResult {
    id: String,
    query_id: Option<String>,
    query_text: Option<String>,
    output_text: Option<String>,
    /// The model that gave the output.
    model_id: Option<String>,
    theme: Option<String>,
    /// The evaluation metric whose prompt the judge was given.
    evaluation_prompt_id: Option<String>,
    evaluation_prompt: Option<String>,
    /// As the judge gave it; null where it gave none.
    score: Option<f64>,
    judge_model: Option<String>,
    /// When it was judged, UTC.
    timestamp: Option<String>,
    /// Whatever else is known of it.
    metadata: Option<Value>,
}

impl From<EvaluationResult> for ShownResult {
    fn from(result: EvaluationResult) -> Self {
        let EvaluationResult {
            id,
            query_id,
            query_text,
            output_text,
            model_id,
            theme,
            evaluation_prompt_id,
            evaluation_prompt,
            score,
            judge_model,
            timestamp,
            result_metadata,
        } = result;
        Self {
            id,
            query_id,
            query_text,
            output_text,
            model_id,
            theme,
            evaluation_prompt_id,
            evaluation_prompt,
            score,
            judge_model,
            timestamp: timestamp.map(timestamp::format),
            metadata: result_metadata,
        }
    }
}
