//! Migrations: what each has written, rejected and compared.
//!
//! Pages read the bookkeeping of `panopticon migrate`; actions are jobs that call what `migrate`, `migrate --undo`
//! and `verify` call.

mod actions;
mod list;
mod run;
mod start;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;
use store::{StoredTime, postgres::job_history::JobRecord, storage::StorageError};

use super::{Section, filters::link, jobs, layout, text};
use crate::{answer::ApiError, handlers::runs::Events, process::Process};

/// The jobs of these pages.
const AREA: &str = "migrations";

/// The pages.
pub(crate) fn router() -> Router<Arc<Process>> {
    let path = |rest: &str| format!("{}{rest}", Section::Migrations.path());
    Router::new()
        .route(&path(""), get(list::show))
        .route(&path("/run"), get(run::show))
        .route(&path("/events"), get(events))
        .route(&path("/start"), post(start::start))
        .route(&path("/undo"), post(actions::undo))
        .route(&path("/verify"), post(actions::verify))
}

async fn events(State(process): State<Arc<Process>>) -> Result<Events, ApiError> {
    jobs::events(process, AREA)
}

/// A collection of a run.
#[derive(Debug, Serialize)]
struct Migrated {
    /// The run; null if another program has removed it.
    run_id: Option<String>,
    source: Option<String>,
    collection: Option<String>,
    table: Option<String>,
    /// `copying`, `copied`, `complete` or `undone`.
    status: Option<String>,
    written: Option<i64>,
    updated: Option<i64>,
    deleted: Option<i64>,
    started_at: Option<String>,
    changed_at: Option<String>,
    /// What was found at the end, as the database has it: among others the comparison's `status`, the counts of
    /// `source_records`, `matched`, `rejected` and `conflicts`, digests of both sides, and the parity of searches.
    manifest: Option<Value>,
    #[serde(skip)]
    times: [Option<StoredTime>; 2],
}

impl From<JobRecord> for Migrated {
    fn from(job: JobRecord) -> Self {
        let shown = |time: Option<StoredTime>| time.map(|time| time.to_string());
        let [written, updated, deleted] = job.rows;
        Self {
            run_id: job.run_id.map(|run| run.to_string()),
            source: job.source,
            collection: job.collection,
            table: job.table,
            status: job.status,
            written,
            updated,
            deleted,
            started_at: shown(job.started_at),
            changed_at: shown(job.changed_at),
            manifest: job.manifest,
            times: [job.started_at, job.changed_at],
        }
    }
}

impl Migrated {
    fn found(&self, name: &str) -> Option<&Value> {
        self.manifest.as_ref()?.get(name).filter(|value| !value.is_null())
    }

    /// A count of the manifest.
    fn count(&self, name: &str) -> String {
        self.found(name).and_then(Value::as_u64).map_or_else(|| "–".to_owned(), text::count)
    }

    /// A text of the manifest.
    fn named(&self, name: &str) -> Option<&str> {
        self.found(name).and_then(Value::as_str)
    }

    /// A share of the manifest.
    fn percent(&self, name: &str) -> String {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        self.found(name).and_then(Value::as_f64).map_or_else(|| "–".to_owned(), percent)
    }

    fn status(&self) -> Markup {
        let outcome = self.named("status");
        html! {
            (text::text(self.status.as_deref().unwrap_or("unknown")))
            @if let Some(outcome) = outcome {
                ", " span.good[outcome == "verified"].problem[outcome == "different"] { (text::text(outcome)) }
            }
        }
    }
}

/// A number of rows, which another program may have removed.
fn rows(count: Option<i64>) -> String {
    count.map_or_else(
        || "unknown".to_owned(),
        |count| u64::try_from(count).map_or_else(|_| count.to_string(), text::count),
    )
}

fn time(time: Option<StoredTime>) -> Markup {
    match time {
        None => html! { span.note { "unknown" } },
        Some(stored) => match stored.in_calendar() {
            Some(time) => text::time(time),
            None => html! { (stored.to_string()) },
        },
    }
}

/// The page of a run.
fn run_link(run: &str) -> String {
    link(&format!("{}/run", Section::Migrations.path()), [("id", Some(run))])
}

fn no_run(id: &str) -> ApiError {
    ApiError::NoRecord { noun: "migration", id: id.to_owned() }
}

fn failed(error: store::Error) -> ApiError {
    ApiError::Storage(StorageError::Failed { operation: "read migrations", source: error.into() })
}

/// What is shown without a database.
fn without_database() -> Markup {
    layout::empty(
        "This process uses no PostgreSQL database.",
        html! {
            p { "Migrations move records from ChromaDB to PostgreSQL:" }
            pre { "panopticon migrate all" }
        },
    )
}
