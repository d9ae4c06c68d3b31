//! A sample of the records in two dimensions.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Serialize;
use store::{postgres::collection_records::Collections, storage::StorageKind};

use super::record_link;
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::Filters,
        layout,
        map::{MapParameters, RecordMap},
        page::Page,
        view::View,
    },
    records::Records,
    wire::{Conditions, Resource},
};

/// A sample of the records.
#[derive(Debug, Serialize)]
struct MapPage {
    /// Null if the records are not in PostgreSQL.
    map: Option<RecordMap>,
    #[serde(skip)]
    service: Service,
}

/// Shows the sample.
pub(super) async fn show<R: Resource>(
    view: View,
    State(records): State<Records<R>>,
    Filters(MapParameters { limit }): Filters<MapParameters>,
) -> Result<Response, ApiError> {
    let database = records.process().database.as_ref().filter(|_| records.kind() == StorageKind::Postgres);
    let map = match database {
        None => None,
        Some(database) => {
            let sampled = Collections::new(database.clone());
            let sampled = sampled.sample_of_service(R::SERVICE, limit.get());
            let counted = records.count(Conditions::default());
            let (sample, count) = tokio::join!(sampled, counted);
            Some(RecordMap::of(records.process(), count?, sample?).await)
        }
    };
    Ok(view.show(&MapPage { map, service: R::SERVICE }))
}

impl Page for MapPage {
    fn title(&self) -> String {
        format!("Map of {}", Section::of_records(self.service).title().to_lowercase())
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, _: &View) -> Markup {
        let noun = self.service.category_key().replace('_', " ");
        html! {
            div.actions { a.button.quiet href=(self.section().path()) { "List" } }
            @match &self.map {
                Some(map) => (map.shown(Some(&noun), |id| record_link(self.service, id))),
                None => (layout::empty("These records are not in a PostgreSQL database of this process.", html! {
                    p { "The map is of vectors in PostgreSQL. To move records there from ChromaDB:" }
                    pre { "panopticon migrate all --from CHROMA_DIRECTORY" }
                })),
            }
        }
    }
}
