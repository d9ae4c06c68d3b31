//! The records of a collection.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::postgres::collection_records::{CollectionRecord, RecordParts, RecordSelection};

use super::{CollectionPages, Described, Within, read_only};
use crate::{
    answer::ApiError,
    chroma_api::condition,
    console::{
        Section,
        filters::{Filters, metadata_condition},
        layout,
        page::Page,
        text,
        view::View,
    },
    request::Both,
    wire::Whole,
};

/// Filters and place of a list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct ListParameters {
    /// A condition on the metadata: JSON as Chroma's `where`, or `key=value`.
    #[serde(rename = "where")]
    filter: Option<String>,
    /// Only records whose document contains this.
    contains: Option<String>,
    #[serde(default)]
    offset: Whole<0, { i32::MAX as u32 }, 0>,
    #[serde(default)]
    limit: Whole<1, 200, 50>,
}

/// Records of a collection.
#[derive(Debug, Serialize)]
struct RecordsPage {
    collection: Described,
    /// All records, whatever the filters.
    count: u64,
    items: Vec<Row>,
    /// The `offset` of the next page.
    next_offset: Option<u64>,
    offset: u32,
    /// The filters, as given.
    filters: Map<String, Value>,
}

/// A record in a list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) id: String,
    /// The beginning of its document; null if it has none.
    pub(super) document: Option<String>,
    /// Bytes of the whole document.
    pub(super) document_bytes: usize,
    pub(super) is_whole: bool,
    /// The beginning of its metadata as JSON.
    pub(super) metadata: Option<String>,
    /// Distance to the record of which it is a neighbour, as Chroma defines it.
    pub(super) distance: Option<f64>,
}

impl From<CollectionRecord> for Row {
    fn from(CollectionRecord { id, document, metadata, .. }: CollectionRecord) -> Self {
        let shown = document.as_deref().map(|document| text::beginning(document, text::PREVIEW_CHARACTERS));
        let metadata = metadata.map(|metadata| {
            let json = Value::Object(metadata).to_string();
            let (shown, is_whole) = text::beginning(&json, text::PREVIEW_CHARACTERS);
            if is_whole { json } else { format!("{shown}…") }
        });
        Self {
            document_bytes: document.as_ref().map_or(0, String::len),
            is_whole: shown.is_none_or(|(_, is_whole)| is_whole),
            document: shown.map(|(shown, _)| shown.to_owned()),
            id,
            metadata,
            distance: None,
        }
    }
}

/// Shows records.
pub(super) async fn show(
    view: View,
    State(pages): State<CollectionPages>,
    Filters(Both(within, parameters)): Filters<Both<Within, ListParameters>>,
) -> Result<Response, ApiError> {
    let ListParameters { filter, contains, offset, limit } = parameters;
    let collection = pages.find(&within).await?;
    let filter = filter.map(|written| match metadata_condition(&written) {
        Value::String(json) => serde_json::from_str(&json)
            .map_err(|_| ApiError::invalid("where", "expected `key=value`, or a condition in JSON")),
        condition => Ok(condition),
    });
    let contains = contains.map(|contained| json!({ "$contains": contained }));
    let filter = condition(filter.transpose()?.as_ref(), contains.as_ref())?;
    let selection = RecordSelection { ids: None, filter };
    let parts = RecordParts { document: true, metadata: true, ..RecordParts::default() };
    let collections = pages.collections()?;
    // One more shows whether there is another page.
    let page = (Some(limit.get() + 1), offset.get());
    let read = collections.get(&collection, &selection, parts, page);
    let (mut found, count) = tokio::try_join!(read, collections.count(&collection))?;
    let limit = limit.get() as usize;
    let next_offset = (found.len() > limit).then(|| u64::from(offset.get()) + limit as u64);
    found.truncate(limit);
    let own = ["tenant", "database", "collection", "offset"];
    let filters = view.given.parameters.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let filters = filters.map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    let shown = RecordsPage {
        collection: Described::from(&collection),
        count,
        items: found.into_iter().map(Row::from).collect(),
        next_offset,
        offset: offset.get(),
        filters,
    };
    Ok(view.show(&shown))
}

impl RecordsPage {
    fn filter(&self, name: &str) -> Option<&str> {
        self.filters.get(name).and_then(Value::as_str)
    }

    fn form(&self) -> Markup {
        let Described { id, tenant, database, .. } = &self.collection;
        html! {
            form.filters method="get" action={ (Section::Collections.path()) "/records" } {
                input type="hidden" name="tenant" value=(tenant);
                input type="hidden" name="database" value=(database);
                input type="hidden" name="collection" value=(id);
                label { "document contains" input name="contains" value=[self.filter("contains")]; }
                label { "metadata" input name="where" placeholder="key=value or JSON" value=[self.filter("where")]; }
                div.actions {
                    button type="submit" { "Show" }
                    @if !self.filters.is_empty() { a href=(self.collection.link("records", [])) { "Clear" } }
                }
            }
        }
    }
}

/// Records as a table.
pub(super) fn table(collection: &Described, rows: &[Row]) -> Markup {
    let has_distances = rows.iter().any(|row| row.distance.is_some());
    html! {
        div.scroll { table data-rows {
            thead { tr {
                @if has_distances { th.number scope="col" { "distance" } }
                th scope="col" { "id" } th scope="col" { "document" } th scope="col" { "metadata" }
            } }
            tbody { @for row in rows { tr {
                @if has_distances { td.number { @if let Some(distance) = row.distance { (format!("{distance:.4}")) } } }
                td { a href=(collection.record(&row.id)) { (text::text(&row.id)) } }
                td.text {
                    @match &row.document { Some(document) => (text::text(document)), None => span.note { "none" } }
                    @if !row.is_whole { "… " span.note { (text::counted(row.document_bytes as u64, "byte")) } }
                }
                td.text { @match &row.metadata { Some(metadata) => (text::text(metadata)), None => span.note { "none" } } }
            } } }
        } }
    }
}

impl Page for RecordsPage {
    fn title(&self) -> String {
        self.collection.name.clone()
    }

    fn section(&self) -> Section {
        Section::Collections
    }

    fn body(&self, _: &View) -> Markup {
        let shown = self.items.len() as u64;
        html! {
            (self.collection.facts())
            (self.form())
            div.actions {
                a.button.quiet href=(self.collection.link("map", [])) { "Map" }
                span.note {
                    (text::counted(shown, "record")) " shown"
                    @if self.offset > 0 { " after " (text::count(self.offset.into())) }
                    ", in the order of their insertion; the collection has " (text::counted(self.count, "record"))
                    @if !self.filters.is_empty() { ", and how many satisfy the filters is not counted" }
                    "."
                }
            }
            @if self.items.is_empty() {
                (layout::empty(if self.count == 0 { "The collection is empty." } else { "No record satisfies these filters, or is this far down the list." }, html! {
                    p { a href=(self.collection.link("records", [])) { "Show all records" } }
                }))
            } @else { (table(&self.collection, &self.items)) }
            @if let Some(offset) = self.next_offset {
                @let offset = offset.to_string();
                @let given = self.filters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                p { a.button.quiet rel="next" href=(self.collection.link("records", given.chain([("offset", Some(offset.as_str()))]))) { "Next page" } }
            }
            (read_only(self.collection.section))
        }
    }
}
