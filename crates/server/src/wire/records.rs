//! Types that the three resources share. Resources differ in the names of their fields: each has a module with its
//! wire types, and handlers use only [`Resource`].

use records::{Embedding, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use store::storage::{
    CategoryCount, Change, DocumentFilter, Filter, Hit, NewRecord, Production, Record, Selection,
};
use time::PrimitiveDateTime;

use super::{ClientId, EndDate, Fields, StartDate, metadata::condition};
use crate::{answer::ApiError, request::UnknownFields};

/// A kind of records, with its names on the wire.
pub(crate) trait Resource: Send + Sync + 'static {
    /// The service that stores them.
    const SERVICE: Service;
    /// Their collection in paths.
    const PATH: &'static str;
    /// The path, below `PATH`, of the list of a category.
    const BY_CATEGORY: &'static str;
    /// The path, below `PATH`, of the categories with counts.
    const CATEGORIES: &'static str;
    /// The singular noun for messages.
    const NOUN: &'static str;
    /// The field with the text.
    const TEXT: &'static str;
    /// How unknown fields are handled on the contract's routes.
    type Unknown: UnknownFields;
    /// Body of a record to store.
    type New: DeserializeOwned + JsonSchema + Send + Into<DraftRecord>;
    /// Body of a change.
    type Change: DeserializeOwned + JsonSchema + Send + Into<DraftChange>;
    /// Body of a search.
    type Search: DeserializeOwned + JsonSchema + Send + Into<SearchRequest>;
    /// Query parameters that select records.
    type Filters: DeserializeOwned + JsonSchema + Send + Into<Conditions>;
    /// A record in responses.
    type Stored: From<Record> + Serialize + JsonSchema + Send;
    /// A record in search results.
    type Found: From<(Hit, Fields)> + Serialize + JsonSchema + Send;
    /// A category with its count.
    type Category: From<CategoryCount> + Serialize + JsonSchema + Send;
}

/// A record to store, independent of field names.
pub(crate) struct DraftRecord {
    pub(crate) id: Option<ClientId>,
    pub(crate) text: String,
    pub(crate) category: String,
    pub(crate) production: Option<Production>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// A change, independent of field names.
pub(crate) struct DraftChange {
    pub(crate) text: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// A search, independent of field names.
pub(crate) struct SearchRequest {
    pub(crate) text: Option<String>,
    pub(crate) embedding: Option<Vec<f32>>,
    pub(crate) limit: u32,
    pub(crate) conditions: Conditions,
    pub(crate) min_similarity: Option<f64>,
    pub(crate) mode: Mode,
    pub(crate) exact: bool,
    /// The names of the fields of each result; all without them.
    pub(crate) fields: Option<Vec<String>>,
}

/// Conditions that select records, independent of field names.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) category: Option<String>,
    pub(crate) model_id: Option<String>,
    pub(crate) filter: Option<Value>,
    pub(crate) document: Option<Value>,
    pub(crate) start: Option<StartDate>,
    pub(crate) end: Option<EndDate>,
}

/// How records are found and ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Mode {
    /// By cosine distance of embeddings.
    #[default]
    Vector,
    /// By PostgreSQL's full-text search.
    Text,
    /// By both: reciprocal rank fusion.
    Hybrid,
}

/// Selects the records that satisfy all given conditions.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ThemeFilters {
    /// Only records of this category.
    theme: Option<String>,
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

impl From<ThemeFilters> for Conditions {
    fn from(filters: ThemeFilters) -> Self {
        Self {
            category: filters.theme,
            model_id: filters.model_id,
            filter: filters.filter.map(Value::String),
            document: filters.where_document.map(Value::String),
            start: filters.start_date,
            end: filters.end_date,
        }
    }
}

/// A category and its number of records.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ThemeCount {
    theme: Option<String>,
    count: u64,
}

impl From<CategoryCount> for ThemeCount {
    fn from(CategoryCount { category, records }: CategoryCount) -> Self {
        Self { theme: category, count: records }
    }
}

impl DraftRecord {
    /// The record with its embedding.
    pub(crate) fn into_record(
        self,
        id: String,
        embedding: Embedding,
        created_at: PrimitiveDateTime,
    ) -> NewRecord {
        let Self { id: _, text, category, production, metadata } = self;
        // Absent metadata mean no keys.
        let metadata = metadata.unwrap_or_default();
        NewRecord { id, text, embedding, category, production, metadata, created_at }
    }
}

impl DraftChange {
    /// The change; `embedding` is that of the new text, if any.
    pub(crate) fn into_change(self, embedding: Option<Embedding>) -> Change {
        let Self { text, category, metadata } = self;
        Change { text: text.zip(embedding), category, metadata }
    }
}

impl Conditions {
    /// The selection for the store.
    ///
    /// # Errors
    /// When a condition is invalid.
    pub(crate) fn into_selection(self) -> Result<Selection, ApiError> {
        let Self { category, model_id, filter, document, start, end } = self;
        Ok(Selection {
            category,
            model_id,
            filter: condition("where", filter, Filter::from_json)?,
            document: condition("where_document", document, DocumentFilter::from_json)?,
            from: start.map(|start| start.0),
            before: end.and_then(|end| end.0),
        })
    }
}
