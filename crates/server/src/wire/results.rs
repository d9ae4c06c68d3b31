//! Evaluation results.

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

use super::{EndDate, KeysetPage, LaxWhole, ProblemResponse, StartDate, Within, metadata::condition};
use crate::answer::{ApiError, Page};

/// Selects the results that satisfy all given conditions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ResultFilters {
    /// Only of the query with this id.
    query_id: Option<String>,
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

/// The outcome of a judgement.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Status {
    /// The judge gave a score, or a winner.
    Scored,
    /// The judge's response cannot be parsed.
    Unparsed,
    /// The judge refused.
    Refused,
    /// The call of the judge failed.
    Failed,
    /// The model gave no output, so no judge was called.
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
    /// The selection for the store.
    ///
    /// # Errors
    /// When the condition on the metadata is invalid.
    pub(crate) fn into_selection(self) -> Result<ResultSelection, ApiError> {
        let Self {
            query_id,
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
            query_id,
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

/// A page by number, or by cursor.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ResultPaging {
    /// Page number; 1 by default. Each page counts all results: use a cursor to read many.
    pub(crate) page: Option<LaxWhole<1, { i32::MAX as u32 }, 1>>,
    /// Results per page.
    #[serde(default)]
    pub(crate) limit: LaxWhole<1, 100, 10>,
    /// `next_cursor` of the previous response, or empty to start with the newest result.
    pub(crate) cursor: Option<String>,
}

/// A page of the list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ResultPage {
    /// By number.
    Page(Page<ResultResponse>),
    /// By cursor.
    Keyset(KeysetPage<ResultResponse>),
}

/// The format of an export.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct ExportParameters {
    pub(crate) format: ExportFormat,
    /// How texts that spreadsheets read as formulas are written.
    #[serde(default)]
    pub(crate) formulas: Formulas,
}

/// How CSV exports write texts that begin with `=`, `+`, `-`, `@`, a tab or a line break, which spreadsheets run as
/// formulas. Other formats write them unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Formulas {
    /// With a leading `'`, which marks a text in spreadsheets.
    #[default]
    Escaped,
    /// Unchanged, for programs.
    Raw,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ExportFormat {
    /// Comma-separated values (RFC 4180) with a header line; metadata are JSON.
    Csv,
    /// One result per line, in the format of the list.
    Jsonl,
    /// Apache Parquet, with typed columns.
    Parquet,
}

impl ExportFormat {
    /// All formats.
    pub(crate) const ALL: [Self; 3] = [Self::Csv, Self::Jsonl, Self::Parquet];

    /// For the header Content-Type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The extension of the file name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// The judgement of an output. In results of the old services, all fields but the id may be null.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResultResponse {
    id: String,
    query_id: Option<String>,
    query_text: Option<String>,
    output_text: Option<String>,
    /// The model that gave the output.
    model_id: Option<String>,
    theme: Option<String>,
    /// The evaluation metric whose prompt the judge used.
    evaluation_prompt_id: Option<String>,
    evaluation_prompt: Option<String>,
    /// The judge's score; null if it gave none.
    score: Option<f64>,
    judge_model: Option<String>,
    /// When it was judged, UTC.
    timestamp: Option<String>,
    /// Further metadata.
    metadata: Option<Value>,
    /// Values that are shown differently from how they are stored; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemResponse>,
}

impl From<StoredResult> for ResultResponse {
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
            problems: problems.into_iter().map(ProblemResponse::from).collect(),
        }
    }
}
