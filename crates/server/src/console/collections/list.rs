//! The collections of a database.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::{collection_records::Collections, collections::CollectionError};

use super::{CollectionPages, Described, Place, read_only, without_database};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link},
        layout,
        page::Page,
        text,
        view::View,
    },
    request::Both,
    wire::Whole,
};

/// Databases of a tenant that are offered.
const MOST_DATABASES: u32 = 100;

/// The part of the list.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) struct Part {
    #[serde(default)]
    offset: Whole<0, { i32::MAX as u32 }, 0>,
    #[serde(default)]
    limit: Whole<1, 100, 50>,
}

/// The collections of a database.
#[derive(Debug, Serialize)]
struct CollectionsPage {
    has_database: bool,
    #[serde(flatten)]
    place: Place,
    /// The databases of the tenant.
    databases: Vec<String>,
    collections: Vec<Described>,
    count: u64,
    /// The `offset` of the next page.
    next_offset: Option<u64>,
}

/// Shows the collections.
pub(super) async fn show(
    view: View,
    State(pages): State<CollectionPages>,
    Filters(Both(place, part)): Filters<Both<Place, Part>>,
) -> Result<Response, ApiError> {
    let mut shown = CollectionsPage {
        has_database: pages.collections.is_some(),
        place,
        databases: Vec::new(),
        collections: Vec::new(),
        count: 0,
        next_offset: None,
    };
    if let Some(collections) = &pages.collections {
        match shown.read(collections, part).await {
            // No process has made the registry yet.
            Ok(()) | Err(CollectionError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(view.show(&shown))
}

impl CollectionsPage {
    async fn read(
        &mut self,
        collections: &Collections,
        Part { offset, limit }: Part,
    ) -> Result<(), CollectionError> {
        let database = collections.database();
        let Place { tenant, database: name } = &self.place;
        let databases = database.collection_databases(tenant, Some(MOST_DATABASES), 0).await?;
        self.databases = databases.into_iter().map(|database| database.name).collect();
        self.count = database.count_collections(tenant, name).await?;
        let mut listed = Vec::new();
        let page = (Some(limit.get()), offset.get());
        database.visit_collections((tenant, name), page, |one| listed.push(Described::from(one))).await?;
        self.collections = listed;
        let next = u64::from(offset.get()) + self.collections.len() as u64;
        self.next_offset = (next < self.count && !self.collections.is_empty()).then_some(next);
        Ok(())
    }

    fn form(&self) -> Markup {
        html! {
            form.filters method="get" action=(Section::Collections.path()) {
                label { "tenant" input name="tenant" value=(self.place.tenant); }
                label { "database" input name="database" list="databases" value=(self.place.database); }
                datalist #databases { @for database in &self.databases { option value=(database) {} } }
                button type="submit" { "Show" }
            }
        }
    }
}

impl Page for CollectionsPage {
    fn title(&self) -> String {
        Section::Collections.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Collections
    }

    fn body(&self, _: &View) -> Markup {
        if !self.has_database {
            return without_database();
        }
        html! {
            (self.form())
            @if self.collections.is_empty() {
                (layout::empty("There are no collections here.", html! {
                    p { "Chroma clients create them at this server's address, or they are copied from ChromaDB:" }
                    pre { "panopticon migrate collections --from CHROMA_DIRECTORY" }
                }))
            } @else {
                div.scroll { table data-rows {
                    thead { tr { th scope="col" { "name" } th scope="col" { "vectors" } th scope="col" { "table" } th scope="col" { "also on" } } }
                    tbody { @for one in &self.collections { tr {
                        td { a href=(one.link("records", [])) { (text::text(&one.name)) } }
                        td { @match one.dimension { Some(dimension) => (dimension), None => "none yet" } ", " (one.distance) }
                        td { @if let Some(table) = &one.table { code { (text::text(table)) } } }
                        td { @if let Some(section) = one.section { a href=(section.path()) { (section.title()) } } }
                    } } }
                } }
                p.note { (text::counted(self.collections.len() as u64, "collection")) " shown of " (text::count(self.count)) ", oldest first." }
                (read_only(None))
            }
            @if let Some(offset) = self.next_offset {
                @let offset = offset.to_string();
                p { a.button.quiet rel="next" href=(link(&Section::Collections.path(), [
                    ("tenant", Some(self.place.tenant.as_str())), ("database", Some(self.place.database.as_str())), ("offset", Some(offset.as_str())),
                ])) { "Next page" } }
            }
        }
    }
}
