//! The three resources. They differ in the names of their fields; everything else is written once, in
//! [`wire_types`], and their handlers know [`Resource`] alone.

use records::{Embedding, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use store::storage::{
    CategoryCount, Change, DocumentFilter, Filter, Hit, NewRecord, Production, Record, Selection,
};
use time::PrimitiveDateTime;

use super::{
    ClientId, EndDate, ExactObject, LaxWhole, ShownProblem, StartDate, Whole, Within, metadata::condition,
};
use crate::{
    answer::ApiError,
    request::{Ignored, Refused, UnknownFields},
};

/// Records of one kind, as clients name them.
pub(crate) trait Resource: Send + Sync + 'static {
    /// Whose storage keeps them.
    const SERVICE: Service;
    /// Their collection in paths.
    const PATH: &'static str;
    /// The path below theirs that lists those of one category.
    const BY_CATEGORY: &'static str;
    /// The path below theirs that lists categories with counts.
    const CATEGORIES: &'static str;
    /// One of them, in sentences.
    const NOUN: &'static str;
    /// The field with the text.
    const TEXT: &'static str;
    /// What becomes of unknown fields on routes that the contract may have.
    type Unknown: UnknownFields;
    /// Body of a record to store.
    type New: DeserializeOwned + JsonSchema + Send + Into<DraftRecord>;
    /// Body of a change.
    type Change: DeserializeOwned + JsonSchema + Send + Into<DraftChange>;
    /// Body of a search.
    type Search: DeserializeOwned + JsonSchema + Send + Into<SearchRequest>;
    /// Query parameters that select records.
    type Filters: DeserializeOwned + JsonSchema + Send + Into<Conditions>;
    /// A record as it is shown.
    type Stored: From<Record> + Serialize + JsonSchema + Send;
    /// A record that was found.
    type Found: From<Hit> + Serialize + JsonSchema + Send;
    /// A category with its count.
    type Category: From<CategoryCount> + Serialize + JsonSchema + Send;
}

/// A record to store, whatever its fields are called.
pub(crate) struct DraftRecord {
    pub(crate) id: Option<ClientId>,
    pub(crate) text: String,
    pub(crate) category: String,
    pub(crate) production: Option<Production>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// A change, whatever its fields are called.
pub(crate) struct DraftChange {
    pub(crate) text: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// A search, whatever its fields are called.
pub(crate) struct SearchRequest {
    pub(crate) text: Option<String>,
    pub(crate) embedding: Option<Vec<f32>>,
    pub(crate) limit: u32,
    pub(crate) conditions: Conditions,
    pub(crate) min_similarity: Option<f64>,
    pub(crate) mode: Mode,
}

/// Which records are meant, whatever the fields are called.
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
    /// By PostgreSQL's full text search.
    Text,
    /// By both: reciprocal rank fusion.
    Hybrid,
}

impl DraftRecord {
    /// The record, once its text is embedded.
    pub(crate) fn into_record(
        self,
        id: String,
        embedding: Embedding,
        created_at: PrimitiveDateTime,
    ) -> NewRecord {
        let Self { id: _, text, category, production, metadata } = self;
        // Absent metadata are no keys.
        let metadata = metadata.unwrap_or_default();
        NewRecord { id, text, embedding, category, production, metadata, created_at }
    }
}

impl DraftChange {
    /// The change; `embedding` is of the text, if that changes.
    pub(crate) fn into_change(self, embedding: Option<Embedding>) -> Change {
        let Self { text, category, metadata } = self;
        Change { text: text.zip(embedding), category, metadata }
    }
}

impl Conditions {
    /// What the store is asked for.
    ///
    /// # Errors
    /// When a condition is none.
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

/// Makes the wire types of a resource. Derived types need literal names, and flattening a shared part into each
/// would lose the place of an error and the unknown fields.
macro_rules! wire_types {
    (
        $(#[doc = $doc:literal])*
        $resource:ident: $service:ident, $path:literal, $noun:literal, unknown: $unknown:ident,
        types: $New:ident, $Change:ident, $Search:ident, $Filters:ident, $Stored:ident, $Found:ident, $Category:ident,
        limit: $Limit:ident, text: $text:literal, category: $category:literal, by_category: $by_category:literal, categories: $categories:literal,
        production: { $($(#[doc = $field_doc:literal])* $field:ident),* },
    ) => {
        $(#[doc = $doc])*
        pub(crate) enum $resource {}

        impl Resource for $resource {
            const SERVICE: Service = Service::$service;
            const PATH: &'static str = $path;
            const BY_CATEGORY: &'static str = $by_category;
            const CATEGORIES: &'static str = $categories;
            const NOUN: &'static str = $noun;
            const TEXT: &'static str = $text;
            type Unknown = $unknown;
            type New = $New;
            type Change = $Change;
            type Search = $Search;
            type Filters = $Filters;
            type Stored = $Stored;
            type Found = $Found;
            type Category = $Category;
        }

        #[doc = concat!("A ", $noun, " to store.")]
        #[derive(Debug, Deserialize, JsonSchema)]
        pub(crate) struct $New {
            /// Its id, if the client wants to choose it: storing the same again is no error then. Otherwise a UUID.
            id: Option<ClientId>,
            /// The text. Up to 256 word pieces of it count for its embedding; all of it is stored.
            #[serde(rename = $text)]
            text: String,
            /// What the records are sorted by.
            #[serde(rename = $category)]
            category: String,
            $($(#[doc = $field_doc])* $field: String,)*
            /// Further keys.
            metadata: Option<ExactObject>,
        }

        impl From<$New> for DraftRecord {
            fn from(new: $New) -> Self {
                let $New { id, text, category, $($field,)* metadata } = new;
                let production = wire_types!(@production $($field)*);
                Self { id, text, category, production, metadata: metadata.map(ExactObject::into_inner) }
            }
        }

        #[doc = concat!("What to change of a ", $noun, ". What is absent or null stays; id and time stay always.")]
        #[derive(Debug, Deserialize, JsonSchema)]
        pub(crate) struct $Change {
            /// Another text.
            #[serde(rename = $text)]
            text: Option<String>,
            /// Another category.
            #[serde(rename = $category)]
            category: Option<String>,
            /// All of the user's own keys: those that are missing here are removed.
            metadata: Option<ExactObject>,
        }

        impl From<$Change> for DraftChange {
            fn from(change: $Change) -> Self {
                let $Change { text, category, metadata } = change;
                Self { text, category, metadata: metadata.map(ExactObject::into_inner) }
            }
        }

        #[doc = concat!("What to search for: each ", $noun, " has to satisfy everything that is given.")]
        #[derive(Debug, Deserialize, JsonSchema)]
        pub(crate) struct $Search {
            /// The text to search for. Only a search by `vector` needs none, if it is given `embedding`.
            #[serde(rename = $text)]
            text: Option<String>,
            /// The vector to search for, if you have it: 384 numbers of all-MiniLM-L6-v2. The text is not embedded then.
            embedding: Option<Vec<f32>>,
            /// Most answers that are wanted.
            #[serde(default)]
            limit: $Limit<1, 100, 5>,
            /// Only records of this category.
            #[serde(rename = $category)]
            category: Option<String>,
            /// Only records whose metadata have this `model_id`.
            model_id: Option<String>,
            /// A condition on the metadata, as ChromaDB's `where`.
            #[serde(rename = "where")]
            filter: Option<Value>,
            /// A condition on the text, as ChromaDB's `where_document`.
            #[serde(rename = "where_document")]
            document: Option<Value>,
            start_date: Option<StartDate>,
            end_date: Option<EndDate>,
            /// Only records of this cosine similarity (1 − distance) or more.
            min_similarity: Option<Within<-1, 1>>,
            #[serde(default)]
            mode: Mode,
        }

        impl From<$Search> for SearchRequest {
            fn from(search: $Search) -> Self {
                let $Search {
                    text, embedding, limit, category, model_id, filter, document, start_date, end_date, min_similarity, mode,
                } = search;
                Self {
                    text,
                    embedding,
                    limit: limit.get(),
                    conditions: Conditions {
                        category, model_id, filter, document, start: start_date, end: end_date,
                    },
                    min_similarity: min_similarity.map(Within::get),
                    mode,
                }
            }
        }

        #[doc = concat!("Which records are meant: each ", $noun, " that satisfies everything that is given.")]
        #[derive(Debug, Deserialize, JsonSchema)]
        pub(crate) struct $Filters {
            /// Only records of this category.
            #[serde(rename = $category)]
            category: Option<String>,
            /// Only records whose metadata have this `model_id`.
            model_id: Option<String>,
            /// A condition on the metadata, as ChromaDB's `where`: JSON.
            #[serde(rename = "where")]
            filter: Option<String>,
            /// A condition on the text, as ChromaDB's `where_document`: JSON.
            #[serde(rename = "where_document")]
            document: Option<String>,
            start_date: Option<StartDate>,
            end_date: Option<EndDate>,
        }

        impl From<$Filters> for Conditions {
            fn from(filters: $Filters) -> Self {
                let $Filters { category, model_id, filter, document, start_date, end_date } = filters;
                let (filter, document) = (filter.map(Value::String), document.map(Value::String));
                Self { category, model_id, filter, document, start: start_date, end: end_date }
            }
        }

        #[doc = concat!("A stored ", $noun, ".")]
        #[derive(Debug, Serialize, JsonSchema)]
        pub(crate) struct $Stored {
            id: String,
            #[serde(rename = $text)]
            text: String,
            /// The user's keys, and those of the service: category, `timestamp`, and of outputs `model_id` and `query`.
            metadata: Map<String, Value>,
            /// What is shown otherwise than it is stored; absent where nothing is.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            problems: Vec<ShownProblem>,
        }

        impl From<Record> for $Stored {
            fn from(record: Record) -> Self {
                let Record { id, text, metadata, created_at: _, problems } = record;
                Self { id, text, metadata, problems: ShownProblem::of_record(problems, $text) }
            }
        }

        #[doc = concat!("A ", $noun, " that was found.")]
        #[derive(Debug, Serialize, JsonSchema)]
        pub(crate) struct $Found {
            id: String,
            #[serde(rename = $text)]
            text: String,
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

        impl From<Hit> for $Found {
            fn from(hit: Hit) -> Self {
                let Hit { record: Record { id, text, metadata, created_at: _, problems }, distance, score } = hit;
                Self { id, text, metadata, distance, score, problems: ShownProblem::of_record(problems, $text) }
            }
        }

        #[doc = concat!("A category, and how many records have it.")]
        #[derive(Debug, Serialize, JsonSchema)]
        pub(crate) struct $Category {
            #[serde(rename = $category)]
            category: Option<String>,
            count: u64,
        }

        impl From<CategoryCount> for $Category {
            fn from(count: CategoryCount) -> Self {
                Self { category: count.category, count: count.records }
            }
        }
    };
    (@production) => { None };
    (@production $model_id:ident $query:ident) => { Some(Production { model_id: $model_id, query: $query }) };
}

wire_types! {
    /// Prompts that models are tested with.
    Queries: Query, "queries", "query", unknown: Ignored,
    types: NewQuery, QueryChange, QuerySearch, QueryFilters, StoredQuery, FoundQuery, ThemeOfQueries,
    limit: LaxWhole, text: "query", category: "theme", by_category: "theme/{theme}", categories: "themes",
    production: {},
}

wire_types! {
    /// Prompts that a judge scores with.
    EvaluationMetrics: Evaluation, "evaluation-metrics", "evaluation metric", unknown: Ignored,
    types: NewMetric, MetricChange, MetricSearch, MetricFilters, StoredMetric, FoundMetric, MetricType,
    limit: LaxWhole, text: "prompt", category: "metric_type", by_category: "type/{metric_type}", categories: "types",
    production: {},
}

wire_types! {
    /// What models answered.
    Outputs: Judge, "outputs", "output", unknown: Refused,
    types: NewOutput, OutputChange, OutputSearch, OutputFilters, StoredOutput, FoundOutput, ThemeOfOutputs,
    limit: Whole, text: "output", category: "theme", by_category: "theme/{theme}", categories: "themes",
    production: {
        /// The model that made it.
        model_id,
        /// The prompt that it answers.
        query
    },
}
