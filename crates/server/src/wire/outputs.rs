//! What models answered.

use records::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::{Hit, Production, Record};

use super::{
    ClientId, Conditions, DraftChange, DraftRecord, EndDate, ExactObject, Label, Mode, Resource,
    SearchRequest, ShownProblem, StartDate, ThemeCount, ThemeFilters, Whole, Within,
};
use crate::request::Refused;

/// What models answered.
pub(crate) enum Outputs {}

impl Resource for Outputs {
    const SERVICE: Service = Service::Judge;
    const PATH: &'static str = "outputs";
    const BY_CATEGORY: &'static str = "theme/{theme}";
    const CATEGORIES: &'static str = "themes";
    const NOUN: &'static str = "output";
    const TEXT: &'static str = "output";
    type Unknown = Refused;
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
    /// Its id, if the client wants to choose it: storing the same again is no error then. Otherwise a UUID.
    id: Option<ClientId>,
    /// The text. Up to 256 word pieces of it count for its embedding; all of it is stored.
    output: String,
    /// What the records are sorted by.
    theme: Label,
    /// The model that made it.
    model_id: Label,
    /// The prompt that it answers.
    query: String,
    /// Further keys.
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

/// What to change of an output. What is absent or null stays; id and time stay always.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OutputChange {
    /// Another text.
    output: Option<String>,
    /// Another category.
    theme: Option<Label>,
    /// All of the user's own keys: those that are missing here are removed.
    metadata: Option<ExactObject>,
}

impl From<OutputChange> for DraftChange {
    fn from(change: OutputChange) -> Self {
        let OutputChange { output: text, theme: category, metadata } = change;
        let category = category.map(|Label(category)| category);
        Self { text, category, metadata: metadata.map(ExactObject::into_inner) }
    }
}

/// What to search for: each output has to satisfy everything that is given.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OutputSearch {
    /// The text to search for. Only a search by `vector` needs none, if it is given `embedding`.
    output: Option<String>,
    /// The vector to search for, if you have it: 384 numbers of all-MiniLM-L6-v2. The text is not embedded then.
    embedding: Option<Vec<f32>>,
    /// Most answers that are wanted.
    #[serde(default)]
    limit: Whole<1, 100, 5>,
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

impl From<OutputSearch> for SearchRequest {
    fn from(search: OutputSearch) -> Self {
        Self {
            text: search.output,
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

/// A stored output.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredOutput {
    id: String,
    output: String,
    /// The user's keys, and those of the service: category, `timestamp`, and of outputs `model_id` and `query`.
    metadata: Map<String, Value>,
    /// What is shown otherwise than it is stored; absent where nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ShownProblem>,
}

impl From<Record> for StoredOutput {
    fn from(record: Record) -> Self {
        let Record { id, text, metadata, created_at: _, problems } = record;
        let problems = ShownProblem::of_record(problems, Outputs::TEXT);
        Self { id, output: text, metadata, problems }
    }
}

/// An output that was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FoundOutput {
    id: String,
    output: String,
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

impl From<Hit> for FoundOutput {
    fn from(Hit { record, distance, score }: Hit) -> Self {
        let StoredOutput { id, output, metadata, problems } = record.into();
        Self { id, output, metadata, distance, score, problems }
    }
}
