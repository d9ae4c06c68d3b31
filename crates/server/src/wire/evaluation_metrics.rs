//! Prompts that a judge scores with.

use records::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::{CategoryCount, Hit, Record};

use super::{
    ClientId, Conditions, DraftChange, DraftRecord, EndDate, ExactObject, Label, LaxWhole, Mode, Resource,
    SearchRequest, ShownProblem, StartDate, Within,
};
use crate::request::Ignored;

/// Prompts that a judge scores with.
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
    /// Its id, if the client wants to choose it: storing the same again is no error then. Otherwise a UUID.
    id: Option<ClientId>,
    /// The text. Up to 256 word pieces of it count for its embedding; all of it is stored.
    prompt: String,
    /// What the records are sorted by.
    metric_type: Label,
    /// Further keys.
    metadata: Option<ExactObject>,
}

impl From<NewMetric> for DraftRecord {
    fn from(new: NewMetric) -> Self {
        let NewMetric { id, prompt: text, metric_type: Label(category), metadata } = new;
        let metadata = metadata.map(ExactObject::into_inner);
        Self { id, text, category, production: None, metadata }
    }
}

/// What to change of an evaluation metric. What is absent or null stays; id and time stay always.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricChange {
    /// Another text.
    prompt: Option<String>,
    /// Another category.
    metric_type: Option<Label>,
    /// All of the user's own keys: those that are missing here are removed.
    metadata: Option<ExactObject>,
}

impl From<MetricChange> for DraftChange {
    fn from(change: MetricChange) -> Self {
        let MetricChange { prompt: text, metric_type: category, metadata } = change;
        let category = category.map(|Label(category)| category);
        Self { text, category, metadata: metadata.map(ExactObject::into_inner) }
    }
}

/// What to search for: each evaluation metric has to satisfy everything that is given.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricSearch {
    /// The text to search for. Only a search by `vector` needs none, if it is given `embedding`.
    prompt: Option<String>,
    /// The vector to search for, if you have it: 384 numbers of all-MiniLM-L6-v2. The text is not embedded then.
    embedding: Option<Vec<f32>>,
    /// Most answers that are wanted.
    #[serde(default)]
    limit: LaxWhole<1, 100, 5>,
    /// Only records of this category.
    metric_type: Option<String>,
    /// Only records whose metadata have this `model_id`.
    model_id: Option<String>,
    /// A condition on the metadata, as ChromaDB's `where`.
    #[serde(rename = "where")]
    filter: Option<Value>,
    /// A condition on the text, as ChromaDB's `where_document`.
    where_document: Option<Value>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
    /// Only records of this cosine similarity (1 − distance) or more.
    min_similarity: Option<Within<-1, 1>>,
    #[serde(default)]
    mode: Mode,
    /// Whether to compare every selected record instead of using the vector index, which may miss some of the nearest.
    #[serde(default)]
    exact: bool,
}

impl From<MetricSearch> for SearchRequest {
    fn from(search: MetricSearch) -> Self {
        Self {
            text: search.prompt,
            embedding: search.embedding,
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
        }
    }
}

/// Which records are meant: each evaluation metric that satisfies everything that is given.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct MetricFilters {
    /// Only records of this category.
    metric_type: Option<String>,
    /// Only records whose metadata have this `model_id`.
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
    /// The user's keys, and those of the service: category, `timestamp`, and of outputs `model_id` and `query`.
    metadata: Map<String, Value>,
    /// What is shown otherwise than it is stored; absent where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ShownProblem>,
}

impl From<Record> for StoredMetric {
    fn from(record: Record) -> Self {
        let Record { id, text, metadata, created_at: _, problems } = record;
        let problems = ShownProblem::of_record(problems, EvaluationMetrics::TEXT);
        Self { id, prompt: text, metadata, problems }
    }
}

/// An evaluation metric that was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FoundMetric {
    id: String,
    prompt: String,
    metadata: Map<String, Value>,
    /// Cosine distance, 0 to 2; null where none was measured.
    distance: Option<f64>,
    /// What `text` and `hybrid` rank by, more being better.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// What is shown otherwise than it is stored; absent where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ShownProblem>,
}

impl From<Hit> for FoundMetric {
    fn from(Hit { record, distance, score }: Hit) -> Self {
        let StoredMetric { id, prompt, metadata, problems } = record.into();
        Self { id, prompt, metadata, distance, score, problems }
    }
}

/// A category, and how many records have it.
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
