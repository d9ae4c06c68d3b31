//! Records: lists and searches, one record, and its changes.

mod edit;
mod import;
mod list;
mod map;
mod record;
mod results;

use ::records::Service;
use axum::{Router, routing::get};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::storage::{Hit, Record};

use super::{Section, filters::link, text, view::View};
use crate::{
    handlers::extended::export,
    records::Records,
    wire::{ProblemResponse, Resource},
};

/// The pages of the records of `R`.
pub(crate) fn router<R: Resource>() -> Router<Records<R>> {
    let path = |rest: &str| format!("{}{rest}", Section::of_records(R::SERVICE).path());
    Router::new()
        .route(&path(""), get(list::show::<R>))
        .route(&path("/map"), get(map::show::<R>))
        .route(&path("/export"), get(export::<R>))
        .route(&path("/record"), get(record::show::<R>))
        .route(&path("/new"), get(edit::show_new::<R>).post(edit::store::<R>))
        .route(&path("/import"), get(import::show::<R>).post(import::store::<R>))
        .route(&path("/edit"), get(edit::show::<R>).post(edit::update::<R>))
        .route(&path("/delete"), get(edit::show_deletion::<R>).post(edit::delete::<R>))
}

/// The parameter of pages about one record. In a path, browsers would resolve ids such as `..`.
#[derive(Debug, Deserialize, JsonSchema)]
struct OneRecord {
    id: String,
}

/// A record in a list.
#[derive(Clone, Debug, Serialize)]
struct Row {
    id: String,
    /// The beginning of its text.
    text: String,
    /// Bytes of the whole text.
    text_bytes: usize,
    /// Whether `text` is all of it.
    is_whole: bool,
    category: Option<String>,
    /// The model, for outputs.
    model_id: Option<String>,
    /// When it was created, UTC.
    timestamp: Option<String>,
    /// Cosine distance to the searched text.
    distance: Option<f64>,
    /// Score by which `text` and `hybrid` rank.
    score: Option<f64>,
    /// Values that are shown differently from how they are stored.
    problems: Vec<ProblemResponse>,
    #[serde(skip)]
    created_at: Option<time::PrimitiveDateTime>,
}

impl Row {
    fn new<R: Resource>(hit: Hit) -> Self {
        let Hit { record: Record { id, text, metadata, created_at, problems }, distance, score } = hit;
        let (shown, is_whole) = text::beginning(&text, text::PREVIEW_CHARACTERS);
        let named = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            text: shown.to_owned(),
            text_bytes: text.len(),
            is_whole,
            category: named(R::SERVICE.category_key()),
            model_id: named("model_id").filter(|_| R::SERVICE == Service::Judge),
            timestamp: named("timestamp"),
            distance,
            score,
            problems: ProblemResponse::of_record(problems, R::TEXT),
            created_at: created_at.and_then(store::StoredTime::in_calendar),
            id,
        }
    }

    fn listed<R: Resource>(record: Record) -> Self {
        Self::new::<R>(Hit { record, distance: None, score: None })
    }
}

/// The page of the record `id`.
fn record_link(service: Service, id: &str) -> String {
    page_link(service, "record", id)
}

/// The id of a record, and the way to its page if the address has it.
pub(super) fn record(view: &View, service: Service, id: &str) -> Markup {
    match view.has(Section::of_records(service)) {
        true => html! { a href=(record_link(service, id)) { (text::text(id)) } },
        false => text::id(id),
    }
}

/// The page `name` of the record `id`.
fn page_link(service: Service, name: &str, id: &str) -> String {
    link(&format!("{}/{name}", Section::of_records(service).path()), [("id", Some(id))])
}

/// The user's metadata, without the keys of the service.
fn user_metadata(service: Service, metadata: &Map<String, Value>) -> Map<String, Value> {
    let is_own = |key: &str| service.own_key(key).is_some() || key == "timestamp";
    metadata.iter().filter(|(key, _)| !is_own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}
