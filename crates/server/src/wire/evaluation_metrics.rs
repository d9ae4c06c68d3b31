//! Evaluation metrics: the prompts that a judge scores with.

use records::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::{CategoryCount, Hit, Record};

use super::{
    ClientId, Conditions, DraftChange, DraftRecord, EndDate, ExactObject, Fields, Label, LaxWhole, Mode,
    ProblemResponse, QueryVector, Resource, SearchRequest, StartDate, Within,
};
use crate::request::Ignored;

/// Evaluation metrics: the prompts that a judge scores with.
pub(crate) enum EvaluationMetrics {}

impl Resource for EvaluationMetrics {
    const SERVICE: Service = Service::Evaluation;
    const PATH: &'static str = "evaluation-metrics";
    const BY_CATEGORY: &'static str = "type/{metric_type}";
    const CATEGORIES: &'static str = "types";
    const NOUN: &'static str = "evaluation metric";
    const TEXT: &'static str = "prompt";
    type Unknown = Ignored;
    type New = NewMetric;
    type Change = MetricChange;
    type Search = MetricSearch;
    type Filters = MetricFilters;
    type Stored = StoredMetric;
    type Found = FoundMetric;
    type Category = MetricType;
}

/// An evaluation metric to store.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewMetric {
    /// The id; a UUID by default. Storing the same record under the same id again is not an error.
    id: Option<ClientId>,
    /// The text. Its first 256 word pieces are embedded; the complete text is stored.
    prompt: String,
    /// The category.
    metric_type: Label,
    /// Further metadata.
    metadata: Option<ExactObject>,
}

impl From<NewMetric> for DraftRecord {
    fn from(new: NewMetric) -> Self {
        let NewMetric { id, prompt: text, metric_type: Label(category), metadata } = new;
        let metadata = metadata.map(ExactObject::into_inner);
        Self { id, text, category, production: None, metadata }
    }
}

/// A change of an evaluation metric. Absent or null fields stay unchanged, as do the id and the timestamp.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricChange {
    /// The new text.
    prompt: Option<String>,
    /// The new category.
    metric_type: Option<Label>,
    /// The new user metadata, which replace all previous user keys.
    metadata: Option<ExactObject>,
}

impl From<MetricChange> for DraftChange {
    fn from(change: MetricChange) -> Self {
        let MetricChange { prompt: text, metric_type: category, metadata } = change;
        let category = category.map(|Label(category)| category);
        Self { text, category, metadata: metadata.map(ExactObject::into_inner) }
    }
}

/// A search for evaluation metrics that satisfy all given conditions.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricSearch {
    /// The text to search for. Optional only with mode `vector` and an `embedding`.
    prompt: Option<String>,
    /// The vector to search for, 384 numbers of all-MiniLM-L6-v2, instead of embedding the text; or base64 of the numbers,
    /// each of four bytes, little-endian.
    embedding: Option<QueryVector>,
    /// Maximum number of results.
    #[serde(default)]
    limit: LaxWhole<1, 100, 5>,
    /// Only records of this category.
    metric_type: Option<String>,
    /// Only records with this `model_id` in their metadata.
    model_id: Option<String>,
    /// A condition on the metadata, as ChromaDB's `where`.
    #[serde(rename = "where")]
    filter: Option<Value>,
    /// A condition on the text, as ChromaDB's `where_document`.
    where_document: Option<Value>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
    /// Only records with at least this cosine similarity (1 − distance).
    min_similarity: Option<Within<-1, 1>>,
    #[serde(default)]
    mode: Mode,
    /// Use an exact scan instead of the vector index, which may miss some of the nearest records.
    #[serde(default)]
    exact: bool,
    /// The fields of each result next to its `id`: `prompt`, `metadata`, `distance`, `score`, `problems`; all by default.
    fields: Option<Vec<String>>,
}

impl From<MetricSearch> for SearchRequest {
    fn from(search: MetricSearch) -> Self {
        Self {
            text: search.prompt,
            embedding: search.embedding.map(|QueryVector(components)| components),
            limit: search.limit.get(),
            conditions: Conditions {
                category: search.metric_type,
                model_id: search.model_id,
                filter: search.filter,
                document: search.where_document,
                start: search.start_date,
                end: search.end_date,
            },
            min_similarity: search.min_similarity.map(Within::get),
            mode: search.mode,
            exact: search.exact,
            fields: search.fields,
        }
    }
}

/// Selects the evaluation metrics that satisfy all given conditions.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricFilters {
    /// Only records of this category.
    metric_type: Option<String>,
    /// Only records with this `model_id` in their metadata.
    model_id: Option<String>,
    /// A condition on the metadata, as ChromaDB's `where`: JSON.
    #[serde(rename = "where")]
    filter: Option<String>,
    /// A condition on the text, as ChromaDB's `where_document`: JSON.
    where_document: Option<String>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
}

impl From<MetricFilters> for Conditions {
    fn from(filters: MetricFilters) -> Self {
        Self {
            category: filters.metric_type,
            model_id: filters.model_id,
            filter: filters.filter.map(Value::String),
            document: filters.where_document.map(Value::String),
            start: filters.start_date,
            end: filters.end_date,
        }
    }
}

/// A stored evaluation metric.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredMetric {
    id: String,
    prompt: String,
    /// User metadata, and the service's keys: the category, `timestamp`, and for outputs `model_id` and `query`.
    metadata: Map<String, Value>,
    /// Values that are shown differently from how they are stored; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemResponse>,
}

impl From<Record> for StoredMetric {
    fn from(record: Record) -> Self {
        let Record { id, text, metadata, created_at: _, problems } = record;
        let problems = ProblemResponse::of_record(problems, EvaluationMetrics::TEXT);
        Self { id, prompt: text, metadata, problems }
    }
}

/// An evaluation metric in search results.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FoundMetric {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
    /// Cosine distance, 0 to 2; null if none was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<Option<f64>>,
    /// Score by which `text` and `hybrid` rank; higher is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// Values that are shown differently from how they are stored; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemResponse>,
}

impl From<(Hit, Fields)> for FoundMetric {
    fn from((Hit { record, distance, score }, fields): (Hit, Fields)) -> Self {
        let StoredMetric { id, prompt, metadata, problems } = record.into();
        Self {
            id,
            prompt: fields.text.then_some(prompt),
            metadata: fields.metadata.then_some(metadata),
            distance: fields.distance.then_some(distance),
            score: score.filter(|_| fields.score),
            problems: if fields.problems { problems } else { Vec::new() },
        }
    }
}

/// A category and its number of records.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MetricType {
    metric_type: Option<String>,
    count: u64,
}

impl From<CategoryCount> for MetricType {
    fn from(CategoryCount { category, records }: CategoryCount) -> Self {
        Self { metric_type: category, count: records }
    }
}
