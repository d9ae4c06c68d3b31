//! Prompts that models are tested with.

use records::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::{Hit, Record};

use super::{
    ClientId, Conditions, DraftChange, DraftRecord, EndDate, ExactObject, Label, LaxWhole, Mode, Resource,
    SearchRequest, ShownProblem, StartDate, ThemeCount, ThemeFilters, Within,
};
use crate::request::Ignored;

/// Prompts that models are tested with.
pub(crate) enum Queries {}

impl Resource for Queries {
    const SERVICE: Service = Service::Query;
    const PATH: &'static str = "queries";
    const BY_CATEGORY: &'static str = "theme/{theme}";
    const CATEGORIES: &'static str = "themes";
    const NOUN: &'static str = "query";
    const TEXT: &'static str = "query";
    type Unknown = Ignored;
    type New = NewQuery;
    type Change = QueryChange;
    type Search = QuerySearch;
    type Filters = ThemeFilters;
    type Stored = StoredQuery;
    type Found = FoundQuery;
    type Category = ThemeCount;
}

/// A query to store.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewQuery {
    /// Its id, if the client wants to choose it: storing the same again is no error then. Otherwise a UUID.
    id: Option<ClientId>,
    /// The text. Up to 256 word pieces of it count for its embedding; all of it is stored.
    query: String,
    /// What the records are sorted by.
    theme: Label,
    /// Further keys.
    metadata: Option<ExactObject>,
}

impl From<NewQuery> for DraftRecord {
    fn from(new: NewQuery) -> Self {
        let NewQuery { id, query: text, theme: Label(category), metadata } = new;
        let metadata = metadata.map(ExactObject::into_inner);
        Self { id, text, category, production: None, metadata }
    }
}

/// What to change of a query. What is absent or null stays; id and time stay always.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct QueryChange {
    /// Another text.
    query: Option<String>,
    /// Another category.
    theme: Option<Label>,
    /// All of the user's own keys: those that are missing here are removed.
    metadata: Option<ExactObject>,
}

impl From<QueryChange> for DraftChange {
    fn from(change: QueryChange) -> Self {
        let QueryChange { query: text, theme: category, metadata } = change;
        let category = category.map(|Label(category)| category);
        Self { text, category, metadata: metadata.map(ExactObject::into_inner) }
    }
}

/// What to search for: each query has to satisfy everything that is given.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct QuerySearch {
    /// The text to search for. Only a search by `vector` needs none, if it is given `embedding`.
    query: Option<String>,
    /// The vector to search for, if you have it: 384 numbers of all-MiniLM-L6-v2. The text is not embedded then.
    embedding: Option<Vec<f32>>,
    /// Most answers that are wanted.
    #[serde(default)]
    limit: LaxWhole<1, 100, 5>,
    /// Only records of this category.
    theme: Option<String>,
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

impl From<QuerySearch> for SearchRequest {
    fn from(search: QuerySearch) -> Self {
        Self {
            text: search.query,
            embedding: search.embedding,
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
        }
    }
}

/// A stored query.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredQuery {
    id: String,
    query: String,
    /// The user's keys, and those of the service: category, `timestamp`, and of outputs `model_id` and `query`.
    metadata: Map<String, Value>,
    /// What is shown otherwise than it is stored; absent where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ShownProblem>,
}

impl From<Record> for StoredQuery {
    fn from(record: Record) -> Self {
        let Record { id, text, metadata, created_at: _, problems } = record;
        let problems = ShownProblem::of_record(problems, Queries::TEXT);
        Self { id, query: text, metadata, problems }
    }
}

/// A query that was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FoundQuery {
    id: String,
    query: String,
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

impl From<Hit> for FoundQuery {
    fn from(Hit { record, distance, score }: Hit) -> Self {
        let StoredQuery { id, query, metadata, problems } = record.into();
        Self { id, query, metadata, distance, score, problems }
    }
}
