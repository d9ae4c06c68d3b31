//! One record of a collection, and its neighbours.

use ::records::Embedding;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::postgres::{
    collection_records::{CollectionRecord, RecordParts, RecordSelection},
    collections::Collection,
};

use super::{
    CollectionPages, Described, Within, read_only,
    records::{Row, table},
};
use crate::{
    answer::ApiError,
    console::{Section, filters::Filters, page::Page, text, view::View},
    request::Both,
};

/// Neighbours that are shown.
const NEIGHBOURS: u32 = 8;

/// Which record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct OneRecord {
    id: String,
    /// Whether a long document is shown completely.
    #[serde(default)]
    whole: bool,
}

/// A record, whole.
#[derive(Debug, Serialize)]
struct RecordPage {
    collection: Described,
    id: String,
    document: Option<String>,
    uri: Option<String>,
    metadata: Option<Map<String, Value>>,
    /// Components of its vector; null without one.
    dimension: Option<usize>,
    /// The nearest other records by their vectors.
    neighbours: Vec<Row>,
    /// Why there are none, if they could not be found.
    neighbours_problem: Option<String>,
    #[serde(skip)]
    shows_whole: bool,
}

/// Shows a record.
pub(super) async fn show(
    view: View,
    State(pages): State<CollectionPages>,
    Filters(Both(within, OneRecord { id, whole })): Filters<Both<Within, OneRecord>>,
) -> Result<Response, ApiError> {
    let collection = pages.find(&within).await?;
    let selection = RecordSelection { ids: Some(vec![id.clone()]), filter: None };
    let parts = RecordParts { document: true, metadata: true, uri: true, embedding: true };
    let found = pages.collections()?.get(&collection, &selection, parts, (None, 0)).await?;
    // Two ids may have one key: only the exact one is meant.
    let found = found.into_iter().find(|record| record.id == id);
    let Some(CollectionRecord { id, embedding, document, uri, metadata }) = found else {
        return Err(ApiError::NoRecord { noun: "record", id });
    };
    let dimension = embedding.as_ref().map(Vec::len);
    let near = match embedding {
        None => Ok(Vec::new()),
        Some(vector) => neighbours(&pages, &collection, (&id, vector)).await,
    };
    // The record is shown without them, for instance while too much memory is in use.
    let (neighbours, neighbours_problem) = match near {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error.public_message())),
    };
    Ok(view.show(&RecordPage {
        collection: Described::from(&collection),
        id,
        document,
        uri,
        metadata,
        dimension,
        neighbours,
        neighbours_problem,
        shows_whole: whole,
    }))
}

async fn neighbours(
    pages: &CollectionPages,
    collection: &Collection,
    (id, vector): (&str, Vec<f32>),
) -> Result<Vec<Row>, ApiError> {
    let parts = RecordParts { document: true, metadata: true, ..RecordParts::default() };
    let (searched, all) = ([Embedding::from(vector)], RecordSelection::default());
    // The record itself may be among them.
    let found = pages.collections()?.query(collection, &all, (&searched, NEIGHBOURS + 1), parts).await?;
    // One vector has one list.
    let nearest = found.nearest.into_iter().next().unwrap_or_default();
    let others = nearest.into_iter().filter_map(|(place, distance)| {
        let record = found.records.get(place).filter(|record| record.id != id)?;
        Some(Row { distance: Some(distance), ..Row::from(record.clone()) })
    });
    Ok(others.take(NEIGHBOURS as usize).collect())
}

impl RecordPage {
    fn long(&self, written: &str) -> Markup {
        let limit = if self.shows_whole { usize::MAX } else { text::SHOWN_CHARACTERS };
        let (shown, is_whole) = text::beginning(written, limit);
        html! {
            pre tabindex="0" { (text::text(shown)) }
            @if !is_whole {
                p.note {
                    "The first " (text::count(text::SHOWN_CHARACTERS as u64)) " characters of " (text::counted(written.len() as u64, "byte")) ". "
                    a href=(self.collection.link("record", [("id", Some(self.id.as_str())), ("whole", Some("true"))])) { "Show all" }
                }
            }
        }
    }
}

impl Page for RecordPage {
    fn title(&self) -> String {
        format!("Record of {}", self.collection.name)
    }

    fn section(&self) -> Section {
        Section::Collections
    }

    fn body(&self, _: &View) -> Markup {
        html! {
            dl {
                dt { "id" } dd { (text::id(&self.id)) }
                dt { "collection" } dd { a href=(self.collection.link("records", [])) { (text::text(&self.collection.name)) } }
                dt { "vector" } dd { @match self.dimension { Some(dimension) => { (dimension) " components" }, None => "none" } ", " (self.collection.distance) }
                @if let Some(uri) = &self.uri { dt { "URI" } dd { (text::text(uri)) } }
            }
            h2 { "Document" }
            @match &self.document { Some(document) => (self.long(document)), None => p.note { "None." } }
            h2 { "Metadata" }
            @match &self.metadata {
                Some(metadata) if !metadata.is_empty() => (self.long(&format!("{:#}", Value::Object(metadata.clone())))),
                _ => p.note { "None." },
            }
            h2 { "Nearest" }
            @if let Some(problem) = &self.neighbours_problem {
                p.problem { "They could not be searched: " (text::text(problem)) }
            } @else if self.neighbours.is_empty() {
                p.note { @if self.dimension.is_none() { "The record has no vector." } @else { "There are no other records with a vector." } }
            } @else {
                (table(&self.collection, &self.neighbours))
                p.note { "By the stored vectors, up to " (NEIGHBOURS) " records; distances as Chroma defines them (" (self.collection.distance) "). An index finds most of the nearest, not always all." }
            }
            (read_only(self.collection.section))
        }
    }
}
