//! What judges said of outputs.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use store::{
    postgres::{EvaluationResult, ResultSelection, ResultStatus, StoredResult},
    storage::Filter,
};
use time::Duration;
use uuid::Uuid;

use super::{EndDate, KeysetPage, LaxWhole, ShownProblem, StartDate, Within, metadata::condition};
use crate::answer::{ApiError, Page};

/// Which results are meant: those that satisfy everything that is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ResultFilters {
    /// Only of this theme.
    theme: Option<String>,
    /// Only of this model's outputs.
    model_id: Option<String>,
    /// Only by this evaluation metric.
    evaluation_prompt_id: Option<String>,
    /// Only by this judge.
    judge_model: Option<String>,
    /// Only of this run.
    run_id: Option<RunId>,
    /// Only with this status. A result of the old services is `scored` if it has a score, else `unparsed`.
    status: Option<Status>,
    /// A condition on the metadata, as ChromaDB's `where`: JSON.
    #[serde(rename = "where")]
    filter: Option<Value>,
    /// Only with a score of at least this.
    min_score: Option<Within<0, 10>>,
    /// Only with a score of at most this.
    max_score: Option<Within<0, 10>>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
}

/// The id of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunId(pub(crate) Uuid);

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text)
            .map(Self)
            .map_err(|_| de::Error::custom("expected a run's id, which is a UUID"))
    }
}

impl JsonSchema for RunId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// What came of a judgement.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Status {
    /// The judge gave a score, or a winner.
    Scored,
    /// The judge answered, and it cannot be read.
    Unparsed,
    /// The judge declined.
    Refused,
    /// There is no answer of the judge.
    Failed,
    /// The model gave no output, and no judge was asked.
    Unanswered,
}

impl From<Status> for ResultStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Scored => Self::Scored,
            Status::Unparsed => Self::Unparsed,
            Status::Refused => Self::Refused,
            Status::Failed => Self::Failed,
            Status::Unanswered => Self::Unanswered,
        }
    }
}

impl ResultFilters {
    /// What the store calls it.
    ///
    /// # Errors
    /// When the condition on the metadata is none.
    pub(crate) fn into_selection(self) -> Result<ResultSelection, ApiError> {
        let Self {
            theme,
            model_id,
            evaluation_prompt_id,
            judge_model,
            run_id,
            status,
            filter,
            min_score,
            max_score,
            start_date,
            end_date,
        } = self;
        Ok(ResultSelection {
            theme,
            model_id,
            evaluation_prompt_id,
            judge_model,
            run_id: run_id.map(|run_id| run_id.0),
            status: status.map(ResultStatus::from),
            metadata: condition("where", filter, Filter::from_json)?,
            min_score: min_score.map(Within::get),
            max_score: max_score.map(Within::get),
            from: start_date.map(|start| start.0),
            // Times are whole microseconds.
            until: end_date.and_then(|end| end.0?.checked_sub(Duration::MICROSECOND)),
        })
    }
}

/// Which part of the list is meant: a page with its number, or what follows on a cursor.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResultPaging {
    /// Number of the page; 1 by default. Pages count all results each time: a cursor is for going through many.
    pub(crate) page: Option<LaxWhole<1, { i32::MAX as u32 }, 1>>,
    /// Results on a page.
    #[serde(default)]
    pub(crate) limit: LaxWhole<1, 100, 10>,
    /// `next_cursor` of the answer before, or nothing to begin with the newest.
    pub(crate) cursor: Option<String>,
}

/// A part of the list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ResultPage {
    /// Without a cursor.
    Page(Page<ShownResult>),
    /// With a cursor.
    Keyset(KeysetPage<ShownResult>),
}

/// Which file is meant.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct ExportParameters {
    pub(crate) format: ExportFormat,
    /// What becomes of texts that spreadsheets take for formulas.
    #[serde(default)]
    pub(crate) formulas: Formulas,
}

/// What becomes in CSV of texts that begin with `=`, `+`, `-`, `@`, a tab or a line break, which spreadsheets run as
/// formulas. Other formats have them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Formulas {
    /// They get a `'` before them, which spreadsheets take for the sign of a text.
    #[default]
    Escaped,
    /// They are written as they are: for programs.
    Raw,
}

/// A form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ExportFormat {
    /// Comma-separated values as RFC 4180 has them, with a line of names; metadata are JSON.
    Csv,
    /// A result on each line, as the list shows it.
    Jsonl,
    /// Apache Parquet, with typed columns.
    Parquet,
}

impl ExportFormat {
    /// Every one.
    pub(crate) const ALL: [Self; 3] = [Self::Csv, Self::Jsonl, Self::Parquet];

    /// For the header Content-Type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// What a file's name ends with.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
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
    /// What is shown otherwise than it is stored; absent where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ShownProblem>,
}

impl From<StoredResult> for ShownResult {
    fn from(StoredResult { result, problems }: StoredResult) -> Self {
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
            timestamp: timestamp.map(|time| time.to_string()),
            metadata: result_metadata,
            problems: problems.into_iter().map(ShownProblem::from).collect(),
        }
    }
}
