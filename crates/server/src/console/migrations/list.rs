//! All migrations, newest first.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Serialize;
use store::storage::Cursor;

use super::{AREA, Migrated, failed, rows, run_link, start, time, without_database};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link},
        jobs::jobs,
        layout,
        page::Page,
        text,
        view::View,
    },
    jobs::JobState,
    process::Process,
    wire::KeysetParameters,
};

/// Migrated collections.
#[derive(Debug, Serialize)]
struct MigrationsPage {
    has_database: bool,
    items: Vec<Migrated>,
    /// The `cursor` of the next page.
    next_cursor: Option<String>,
    jobs: Vec<JobState>,
}

/// Shows the migrations.
pub(super) async fn show(
    view: View,
    State(process): State<Arc<Process>>,
    Filters(keyset): Filters<KeysetParameters>,
) -> Result<Response, ApiError> {
    let mut page = MigrationsPage {
        has_database: process.database.is_some(),
        items: Vec::new(),
        next_cursor: None,
        jobs: process.jobs.of(AREA),
    };
    let place = |cursor: &str| {
        let Cursor { created_at, key } = cursor.parse().ok()?;
        Some((created_at?.in_calendar()?, key))
    };
    let after = match keyset.cursor.as_deref().map(place) {
        None => None,
        Some(Some(after)) => Some(after),
        Some(None) => return Err(ApiError::invalid("cursor", "expected the `next_cursor` of a response")),
    };
    if let Some(database) = &process.database {
        let limit = keyset.limit.get();
        // One more shows whether there is a next page.
        let mut found = database.job_history(after, limit + 1).await.map_err(failed)?;
        let has_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        // A time outside the calendar gives no place to continue from.
        let last = found
            .last()
            .filter(|job| has_more && job.started_at.is_some_and(|at| at.in_calendar().is_some()));
        page.next_cursor = last.map(|job| Cursor { created_at: job.started_at, key: job.id }.to_string());
        page.items = found.into_iter().map(Migrated::from).collect();
    }
    Ok(view.show(&page))
}

impl Migrated {
    fn row(&self) -> Markup {
        html! {
            tr {
                td { @match &self.run_id { Some(run) => a href=(run_link(run)) { (time(self.times[0])) }, None => (time(self.times[0])) } }
                td.text { (text::text(self.source.as_deref().unwrap_or("unknown"))) }
                td { (text::text(self.collection.as_deref().unwrap_or("unknown"))) }
                td { (text::text(self.table.as_deref().unwrap_or("unknown"))) }
                td { (self.status()) }
                td.number { (self.count("source_records")) }
                td.number { (rows(self.written)) } td.number { (rows(self.updated)) } td.number { (rows(self.deleted)) }
                td.number { (self.count("rejected")) } td.number { (self.count("conflicts")) }
                td.number { (self.percent("search_parity")) }
            }
        }
    }
}

impl Page for MigrationsPage {
    fn title(&self) -> String {
        Section::Migrations.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Migrations
    }

    fn body(&self, view: &View) -> Markup {
        if !self.has_database {
            return without_database();
        }
        let path = Section::Migrations.path();
        html! {
            @if self.items.is_empty() {
                (layout::empty("There was no migration.", html! {
                    p { "A migration copies a ChromaDB directory or server into PostgreSQL, and compares every record." }
                }))
            } @else {
                div.scroll { table data-rows {
                    thead { tr {
                        th scope="col" { "started" } th scope="col" { "source" } th scope="col" { "collection" } th scope="col" { "table" } th scope="col" { "status" }
                        th.number scope="col" { "records" } th.number scope="col" { "written" } th.number scope="col" { "updated" } th.number scope="col" { "deleted" }
                        th.number scope="col" { "rejected" } th.number scope="col" { "conflicts" } th.number scope="col" { "search parity" }
                    } }
                    tbody { @for item in &self.items { (item.row()) } }
                } }
                p.note { "Records, rejected records, conflicts and parity are known when a migration is complete. A migration that was interrupted is resumed when it is started again." }
            }
            @if let Some(cursor) = &self.next_cursor {
                p { a.button.quiet rel="next" href=(link(&path, [("cursor", Some(cursor.as_str()))])) { "Next page" } }
            }
            (jobs(&self.jobs, &path))
            (start::form(view))
        }
    }
}
