//! Collections that Chroma clients see: lists, their records, and one record. The pages only read; Chroma's API writes.

mod list;
mod map;
mod record;
mod records;

use std::sync::Arc;

use axum::{Router, routing::get};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use store::postgres::{
    collection_records::Collections,
    collections::{Collection, DEFAULT_DATABASE, DEFAULT_TENANT},
};
use uuid::Uuid;

use super::{Section, filters::link, layout, text};
use crate::{answer::ApiError, process::Process};

/// What the pages need.
#[derive(Clone, Debug)]
pub(crate) struct CollectionPages {
    pub(crate) process: Arc<Process>,
    /// None without PostgreSQL.
    pub(crate) collections: Option<Collections>,
}

/// The pages.
pub(crate) fn router() -> Router<CollectionPages> {
    let path = |rest: &str| format!("{}{rest}", Section::Collections.path());
    Router::new()
        .route(&path(""), get(list::show))
        .route(&path("/records"), get(records::show))
        .route(&path("/record"), get(record::show))
        .route(&path("/map"), get(map::show))
}

/// A database of collections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
struct Place {
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default = "default_database")]
    database: String,
}

/// A collection of a database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
struct Within {
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default = "default_database")]
    database: String,
    /// Its id.
    collection: String,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

fn default_database() -> String {
    DEFAULT_DATABASE.to_owned()
}

/// What pages say of a collection.
#[derive(Clone, Debug, Serialize)]
struct Described {
    #[serde(serialize_with = "written")]
    id: Uuid,
    name: String,
    tenant: String,
    database: String,
    /// Components of its vectors; null before the first record.
    dimension: Option<u32>,
    distance: &'static str,
    /// The table with its records; null before the first one.
    table: Option<String>,
    #[serde(skip)]
    section: Option<Section>,
}

fn written<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl From<&Collection> for Described {
    fn from(collection: &Collection) -> Self {
        Self {
            id: collection.id,
            name: collection.name.clone(),
            tenant: collection.tenant.clone(),
            database: collection.database.clone(),
            dimension: collection.dimension,
            distance: collection.space.as_str(),
            table: collection.table.as_ref().map(|table| table.name.clone()),
            section: collection.service().map(Section::of_records),
        }
    }
}

impl Described {
    /// The page `name` of the collection, with more parameters.
    fn link<'p>(&'p self, name: &str, more: impl IntoIterator<Item = (&'p str, Option<&'p str>)>) -> String {
        let id = self.id.to_string();
        let place = [("tenant", self.tenant.as_str()), ("database", self.database.as_str())];
        let defaults = [DEFAULT_TENANT, DEFAULT_DATABASE];
        let named = place.into_iter().zip(defaults);
        let mut given: Vec<(&str, Option<&str>)> = named
            .filter_map(|((name, value), default)| (value != default).then_some((name, Some(value))))
            .collect();
        given.push(("collection", Some(id.as_str())));
        for pair in more {
            given.push(pair);
        }
        link(&format!("{}/{name}", Section::Collections.path()), given)
    }

    /// The page of the record `id`.
    fn record(&self, id: &str) -> String {
        self.link("record", [("id", Some(id))])
    }

    fn facts(&self) -> Markup {
        html! {
            dl {
                dt { "id" } dd { (text::id(&self.id.to_string())) }
                dt { "tenant and database" } dd { (text::text(&self.tenant)) " / " (text::text(&self.database)) }
                dt { "vectors" } dd { @match self.dimension { Some(dimension) => { (dimension) " components" }, None => "none yet" } ", " (self.distance) }
                dt { "table" } dd { @match &self.table { Some(table) => code { (text::text(table)) }, None => "made with the first record" } }
            }
        }
    }
}

impl CollectionPages {
    /// The collections, or why there are none.
    fn collections(&self) -> Result<&Collections, ApiError> {
        let none = || ApiError::NoRecord {
            noun: "collection",
            id: "this process uses no PostgreSQL database".to_owned(),
        };
        self.collections.as_ref().ok_or_else(none)
    }

    async fn find(&self, within: &Within) -> Result<Collection, ApiError> {
        let Within { tenant, database, collection } = within;
        let missing = || ApiError::NoRecord { noun: "collection", id: collection.clone() };
        let id = Uuid::try_parse(collection).map_err(|_| missing())?;
        let found = self.collections()?.find(tenant, database, id).await?;
        found.ok_or_else(missing)
    }
}

/// What is shown without a database.
fn without_database() -> Markup {
    layout::empty(
        "This process uses no PostgreSQL database.",
        html! {
            p { "Collections are those in PostgreSQL. To move them there from ChromaDB:" }
            pre { "panopticon migrate collections --from CHROMA_DIRECTORY" }
        },
    )
}

/// Where records are changed.
fn read_only(section: Option<Section>) -> Markup {
    html! {
        p.note {
            "These pages only read. Records are added, changed and deleted by Chroma clients at " code { "/api/v2" }
            @if let Some(section) = section { ", and those of this collection also on " a href=(section.path()) { (section.title()) } }
            "."
        }
    }
}
