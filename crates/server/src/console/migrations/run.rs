//! One run: its collections, their comparison, and the rejected records.

use std::{collections::BTreeSet, sync::Arc};

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::job_history::{RejectCount, StoredReject};
use uuid::Uuid;

use super::{AREA, Migrated, failed, no_run, rows, time};
use crate::{
    answer::ApiError,
    console::{Section, filters::Filters, jobs::jobs, page::Page, text, view::View},
    jobs::JobState,
    process::Process,
};

/// Rejected records that are shown.
const MOST_REJECTS: u32 = 100;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OneRun {
    id: String,
}

/// A run.
#[derive(Debug, Serialize)]
struct RunPage {
    id: String,
    collections: Vec<Migrated>,
    rejects_by_reason: Vec<RejectedResponse>,
    /// The first rejected records.
    rejects: Vec<RejectResponse>,
    jobs: Vec<JobState>,
}

#[derive(Debug, Serialize)]
struct RejectedResponse {
    collection: String,
    reason: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct RejectResponse {
    collection: String,
    /// ChromaDB's id; invalid UTF-8 is replaced.
    source_id: String,
    reason: String,
    /// The beginning of the record; invalid UTF-8 is replaced.
    record: String,
    record_bytes: u64,
}

/// Shows a run.
pub(super) async fn show(
    view: View,
    State(process): State<Arc<Process>>,
    Filters(OneRun { id }): Filters<OneRun>,
) -> Result<Response, ApiError> {
    let run = Uuid::try_parse(&id).map_err(|_| no_run(&id))?;
    let database = process.database.as_ref().ok_or_else(|| no_run(&id))?;
    let members: Vec<Uuid> = database.jobs_of_group(run).await.map_err(failed)?.into_iter().collect();
    let found = database.jobs_of_run(run, &members).await.map_err(failed)?;
    if found.is_empty() {
        return Err(no_run(&id));
    }
    let runs: BTreeSet<Uuid> = found.iter().filter_map(|job| job.run_id).chain([run]).collect();
    let runs: Vec<Uuid> = runs.into_iter().collect();
    let counts = database.reject_counts(&runs).await.map_err(failed)?;
    let rejects = database.rejects(&runs, MOST_REJECTS).await.map_err(failed)?;
    let id = run.to_string();
    Ok(view.show(&RunPage {
        collections: found.into_iter().map(Migrated::from).collect(),
        rejects_by_reason: counts.into_iter().map(RejectedResponse::from).collect(),
        rejects: rejects.into_iter().map(RejectResponse::from).collect(),
        jobs: process.jobs.of(AREA).into_iter().filter(|job| job.subject.of == id).collect(),
        id,
    }))
}

impl From<RejectCount> for RejectedResponse {
    fn from(RejectCount { collection, reason, count }: RejectCount) -> Self {
        Self { collection, reason, count }
    }
}

impl From<StoredReject> for RejectResponse {
    fn from(reject: StoredReject) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            collection: reject.collection,
            source_id: text(&reject.source_id),
            reason: reject.reason,
            record: text(&reject.record),
            record_bytes: reject.record_bytes,
        }
    }
}

impl Migrated {
    fn facts(&self) -> Markup {
        let is_same = self.named("digest_source").is_some()
            && self.named("digest_source") == self.named("digest_target");
        html! {
            h2 { (text::text(self.collection.as_deref().unwrap_or("unknown"))) " → " (text::text(self.table.as_deref().unwrap_or("unknown"))) }
            dl {
                dt { "status" } dd { (self.status()) }
                dt { "source" } dd { (text::text(self.source.as_deref().unwrap_or("unknown"))) }
                dt { "started" } dd { (time(self.times[0])) }
                dt { "last changed" } dd { (time(self.times[1])) }
                dt { "rows" } dd { (rows(self.written)) " written, " (rows(self.updated)) " updated, " (rows(self.deleted)) " deleted" }
                @if self.manifest.is_some() {
                    dt { "records of the source" } dd {
                        (self.count("source_records")) ": " (self.count("written")) " written, " (self.count("updated")) " updated, "
                        (self.count("unchanged")) " unchanged, " (self.count("conflicts")) " in conflict, " (self.count("rejected")) " rejected"
                    }
                    dt { "compared" } dd { (self.count("matched")) " records match" }
                    dt { "digests" } dd {
                        @match (self.named("digest_source"), self.named("digest_target")) {
                            (Some(source), Some(target)) => {
                                code { (text::text(source)) } " of the source" br;
                                code { (text::text(target)) } " of the table, "
                                @if is_same { span.good { "equal" } } @else { span.problem { "different" } }
                            },
                            _ => "not compared",
                        }
                    }
                    dt { "same searches" } dd { (self.percent("search_parity")) " of the results agree" }
                    dt { "recall of the index" } dd { (self.percent("index_recall")) }
                    @if let Some(failure) = self.named("index_failure") { dt { "index" } dd.problem { (text::text(failure)) } }
                }
            }
        }
    }
}

impl RunPage {
    fn rejects(&self) -> Markup {
        let all: u64 = self.rejects_by_reason.iter().map(|reason| reason.count).sum();
        let left_out = all.saturating_sub(self.rejects.len() as u64);
        html! {
            h2 { "Rejected records" }
            @if self.rejects_by_reason.is_empty() {
                p.note { "None is stored. Rejected records are stored by a migration that may go on without them; otherwise a rejected record stops it before it changes anything." }
            } @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "collection" } th scope="col" { "reason" } th.number scope="col" { "records" } } }
                    tbody { @for one in &self.rejects_by_reason { tr { td { (text::text(&one.collection)) } td { (text::text(&one.reason)) } td.number { (text::count(one.count)) } } } }
                } }
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "id" } th scope="col" { "reason" } th scope="col" { "record" } th.number scope="col" { "bytes" } } }
                    tbody { @for one in &self.rejects { tr {
                        td { (text::id(&one.source_id)) } td { (text::text(&one.reason)) }
                        td.text { details { summary { "Show" } pre { (text::text(&one.record)) } } }
                        td.number { (text::count(one.record_bytes)) }
                    } } }
                } }
                @if left_out > 0 { p.note { (text::counted(left_out, "record")) " more are left out; they are in the table migration_rejects." } }
            }
        }
    }

    fn actions(&self, view: &View) -> Markup {
        let path = Section::Migrations.path();
        let is_undone = self.collections.iter().all(|one| one.status.as_deref() == Some("undone"));
        let run = html! { (view.token()) input type="hidden" name="run" value=(self.id); };
        html! {
            @if !is_undone {
                h2 { "Actions" }
                div.actions {
                    form method="post" action={ (path) "/verify" } {
                        (run)
                        button.quiet type="submit" { "Compare with the source again" }
                    }
                }
                details {
                    summary { "Undo this run" }
                    form.panel.narrow method="post" action={ (path) "/undo" } {
                        (run)
                        p { "Rows that the run has written are removed, and rows that it has changed are restored. Rows that were edited since are kept, unless:" }
                        label { input type="checkbox" name="overwrite" value="true"; " remove edited rows, too" }
                        button.danger type="submit" { "Undo" }
                    }
                }
            }
        }
    }
}

impl Page for RunPage {
    fn title(&self) -> String {
        "Migration".to_owned()
    }

    fn section(&self) -> Section {
        Section::Migrations
    }

    fn body(&self, view: &View) -> Markup {
        html! {
            dl { dt { "run" } dd { (text::id(&self.id)) } }
            (jobs(&self.jobs, &Section::Migrations.path()))
            @for collection in &self.collections { (collection.facts()) }
            (self.actions(view))
            (self.rejects())
            p { a.button.quiet href=(Section::Migrations.path()) { "All migrations" } }
        }
    }
}
