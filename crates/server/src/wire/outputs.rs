//! Outputs: the answers of models.

use records::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::{Hit, Production, Record};

use super::{
    ClientId, Conditions, DraftChange, DraftRecord, EndDate, ExactObject, Fields, Label, Mode,
    ProblemResponse, QueryVector, Resource, SearchRequest, StartDate, ThemeCount, ThemeFilters, Whole,
    Within,
};
use crate::request::Rejected;

/// Outputs: the answers of models.
pub(crate) enum Outputs {}

impl Resource for Outputs {
    const SERVICE: Service = Service::Judge;
    const PATH: &'static str = "outputs";
    const BY_CATEGORY: &'static str = "theme/{theme}";
    const CATEGORIES: &'static str = "themes";
    const NOUN: &'static str = "output";
    const TEXT: &'static str = "output";
    type Unknown = Rejected;
    type New = NewOutput;
    type Change = OutputChange;
    type Search = OutputSearch;
    type Filters = ThemeFilters;
    type Stored = StoredOutput;
    type Found = FoundOutput;
    type Category = ThemeCount;
}

/// An output to store.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewOutput {
    /// The id; a UUID by default. Storing the same record under the same id again is not an error.
    id: Option<ClientId>,
    /// The text. Its first 256 word pieces are embedded; the complete text is stored.
    output: String,
    /// The category.
    theme: Label,
    /// The model that produced it.
    model_id: Label,
    /// The prompt that it answers.
    query: String,
    /// Further metadata.
    metadata: Option<ExactObject>,
}

impl From<NewOutput> for DraftRecord {
    fn from(new: NewOutput) -> Self {
        let NewOutput {
            id,
            output: text,
            theme: Label(category),
            model_id: Label(model_id),
            query,
            metadata,
        } = new;
        let production = Some(Production { model_id, query });
        Self { id, text, category, production, metadata: metadata.map(ExactObject::into_inner) }
    }
}

/// A change of an output. Absent or null fields stay unchanged, as do the id and the timestamp.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OutputChange {
    /// The new text.
    output: Option<String>,
    /// The new category.
    theme: Option<Label>,
    /// The new user metadata, which replace all previous user keys.
    metadata: Option<ExactObject>,
}

impl From<OutputChange> for DraftChange {
    fn from(change: OutputChange) -> Self {
        let OutputChange { output: text, theme: category, metadata } = change;
        let category = category.map(|Label(category)| category);
        Self { text, category, metadata: metadata.map(ExactObject::into_inner) }
    }
}

/// A search for outputs that satisfy all given conditions.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OutputSearch {
    /// The text to search for. Optional only with mode `vector` and an `embedding`.
    output: Option<String>,
    /// The vector to search for, 384 numbers of all-MiniLM-L6-v2, instead of embedding the text; or base64 of the numbers,
    /// each of four bytes, little-endian.
    embedding: Option<QueryVector>,
    /// Maximum number of results.
    #[serde(default)]
    limit: Whole<1, 100, 5>,
    /// Only records of this category.
    theme: Option<String>,
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
    /// The fields of each result next to its `id`: `output`, `metadata`, `distance`, `score`, `problems`; all by default.
    fields: Option<Vec<String>>,
}

impl From<OutputSearch> for SearchRequest {
    fn from(search: OutputSearch) -> Self {
        Self {
            text: search.output,
            embedding: search.embedding.map(|QueryVector(components)| components),
            limit: search.limit.get(),
            conditions: Conditions {
                category: search.theme,
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

/// A stored output.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredOutput {
    id: String,
    output: String,
    /// User metadata, and the service's keys: the category, `timestamp`, and for outputs `model_id` and `query`.
    metadata: Map<String, Value>,
    /// Values that are shown differently from how they are stored; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemResponse>,
}

impl From<Record> for StoredOutput {
    fn from(record: Record) -> Self {
        let Record { id, text, metadata, created_at: _, problems } = record;
        let problems = ProblemResponse::of_record(problems, Outputs::TEXT);
        Self { id, output: text, metadata, problems }
    }
}

/// An output in search results.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FoundOutput {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
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

impl From<(Hit, Fields)> for FoundOutput {
    fn from((Hit { record, distance, score }, fields): (Hit, Fields)) -> Self {
        let StoredOutput { id, output, metadata, problems } = record.into();
        Self {
            id,
            output: fields.text.then_some(output),
            metadata: fields.metadata.then_some(metadata),
            distance: fields.distance.then_some(distance),
            score: score.filter(|_| fields.score),
            problems: if fields.problems { problems } else { Vec::new() },
        }
    }
}
