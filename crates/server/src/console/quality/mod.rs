//! Search quality: the tables with vectors, their indexes and plans, what searches find and how long they take.
//!
//! Pages read what `panopticon index` and `panopticon doctor` read; actions are jobs that call what these commands call.

mod actions;
mod findings;
mod history;
mod list;
mod table;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use maud::{Markup, html};
use records::{Service, error_chain};
use serde::{Deserialize, Serialize};
use store::postgres::Database;
use upkeep::Policy;

pub(super) use self::list::IndexState;
use super::{Section, filters::link, jobs, layout, text};
use crate::{
    answer::ApiError, config::UpkeepConfig, embedding::EmbeddingModel, handlers::runs::Events,
    process::Process,
};

/// How long a part of a page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the pages need.
#[derive(Clone, Debug)]
pub(crate) struct Quality {
    pub(crate) process: Arc<Process>,
    pub(crate) model: EmbeddingModel,
}

/// The pages.
pub(crate) fn router() -> Router<Quality> {
    let path = |rest: &str| format!("{}{rest}", Section::Quality.path());
    Router::new()
        .route(&path(""), get(list::show))
        .route(&path("/table"), get(table::show))
        .route(&path("/findings"), get(findings::show))
        .route(&path("/events"), get(events))
        .route(&path("/tune"), post(actions::tune))
        .route(&path("/apply"), post(actions::apply))
        .route(&path("/maintain"), post(actions::maintain))
}

async fn events(State(quality): State<Quality>) -> Result<Events, ApiError> {
    jobs::events(quality.process, actions::AREA)
}

impl Quality {
    /// The database and how it is maintained; none if the records are in ChromaDB.
    fn database(&self) -> Option<(&Database, UpkeepConfig)> {
        self.process.database.as_ref().zip(self.process.upkeep)
    }
}

/// The indexes of up to `most` tables of `database` for which `is_shown` holds, how many more there are, and what could not
/// be read.
pub(super) async fn indexes(
    database: &Database,
    policy: &Policy,
    most: usize,
    is_shown: impl Fn(&str) -> bool,
) -> (Vec<IndexState>, usize, Vec<Unavailable>) {
    let mut tables = match within("the list of tables", upkeep::tables(database)).await {
        Ok(tables) => tables,
        Err(missing) => return (Vec::new(), 0, vec![missing]),
    };
    tables.retain(|table| is_shown(&table.name));
    // Those of services first; the others are many.
    tables.sort_by_key(|table| Service::ALL.iter().all(|service| service.collection() != table.name));
    let more = tables.len().saturating_sub(most);
    let (mut states, mut unavailable) = (Vec::new(), Vec::new());
    for table in tables.into_iter().take(most) {
        let what = format!("the index of {}", table.name);
        match within(&what, upkeep::observe(database, &table)).await {
            Ok(observation) => states.push(IndexState::new(&observation, policy)),
            Err(missing) => unavailable.push(missing),
        }
    }
    (states, more, unavailable)
}

/// A part that could not be read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unavailable {
    pub(super) what: String,
    pub(super) reason: String,
}

impl Unavailable {
    fn new(what: &str, error: &dyn std::error::Error) -> Self {
        let reason = error_chain(error);
        tracing::warn!(error = reason, "the console cannot show {what}");
        Self { what: what.to_owned(), reason }
    }
}

/// What `read` gives in time; else what is missing.
async fn within<T>(
    what: &str,
    read: impl Future<Output = Result<T, store::Error>>,
) -> Result<T, Unavailable> {
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Unavailable::new(what, &error)),
        Err(elapsed) => Err(Unavailable::new(what, &elapsed)),
    }
}

fn unavailable(parts: &[Unavailable]) -> Markup {
    html! {
        @for Unavailable { what, reason } in parts {
            div.panel.problem role="alert" { p { strong { (text::text(what)) } " cannot be shown: " (text::text(reason)) } }
        }
    }
}

pub(super) fn table_link(name: &str) -> String {
    link(&format!("{}/table", Section::Quality.path()), [("name", Some(name))])
}

/// What is shown without a database.
fn without_database() -> Markup {
    layout::empty(
        "This process uses no PostgreSQL database.",
        html! {
            p { "Search quality is that of tables in PostgreSQL. To move records there from ChromaDB:" }
            pre { "panopticon migrate all --from CHROMA_DIRECTORY" }
        },
    )
}

type Page = Result<Response, ApiError>;
