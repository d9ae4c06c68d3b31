//! A sample of a collection's records in two dimensions.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Serialize;

use super::{CollectionPages, Described, Within};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::Filters,
        map::{MapParameters, RecordMap},
        page::Page,
        view::View,
    },
    request::Both,
};

/// A sample of the records.
#[derive(Debug, Serialize)]
struct MapPage {
    collection: Described,
    map: RecordMap,
}

/// Shows the sample.
pub(super) async fn show(
    view: View,
    State(pages): State<CollectionPages>,
    Filters(Both(within, MapParameters { limit })): Filters<Both<Within, MapParameters>>,
) -> Result<Response, ApiError> {
    let collection = pages.find(&within).await?;
    let collections = pages.collections()?;
    let (sample, count) =
        tokio::try_join!(collections.sample(&collection, limit.get()), collections.count(&collection))?;
    let map = RecordMap::of(&pages.process, count, sample).await;
    Ok(view.show(&MapPage { collection: Described::from(&collection), map }))
}

impl Page for MapPage {
    fn title(&self) -> String {
        format!("Map of {}", self.collection.name)
    }

    fn section(&self) -> Section {
        Section::Collections
    }

    fn body(&self, _: &View) -> Markup {
        html! {
            div.actions { a.button.quiet href=(self.collection.link("records", [])) { "List" } }
            (self.map.shown(None, |id| self.collection.record(id)))
        }
    }
}
