//! The jobs that forms have started, as pages show them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::IntoResponse as _,
};
use maud::{Markup, html};

use super::{layout, text};
use crate::{
    answer::ApiError,
    handlers::runs::Events,
    jobs::{JobState, Stage, Step},
    process::Process,
};

/// Least time between events: a build reports many changes.
const PAUSE: Duration = Duration::from_millis(500);

/// `jobs`, which the page at `path` follows while one is unfinished.
pub(super) fn jobs(jobs: &[JobState], path: &str) -> Markup {
    let is_live = jobs.iter().any(JobState::is_unfinished);
    let events = is_live.then(|| format!("{path}/events"));
    html! {
        div #live.live data-events=[events] aria-live="polite" {
            @if !jobs.is_empty() {
                h2 { "Jobs" }
                @if is_live { p.note { (layout::RELOAD) } }
                ul.jobs { @for job in jobs { (one(job)) } }
                p.note { "Started on this console since the server began; commands and other processes are not shown." }
            }
        }
    }
}

fn one(job: &JobState) -> Markup {
    html! {
        li {
            strong { (job.subject.action) } " " @if job.subject.of.is_empty() { "all" } @else { (text::text(&job.subject.of)) }
            ", " (text::time(job.asked_at)) ": "
            @match &job.stage {
                Stage::Waiting => "waits for another job",
                Stage::Running => "in progress",
                Stage::Done { result } => { span.good { "done" } ": " (text::text(result)) },
                Stage::Failed { reason } => { span.problem { "failed" } ": " (text::text(reason)) },
                Stage::Interrupted => { span.problem { "interrupted" } ", because the server was stopped" },
            }
            @if let Some(Step { done, total }) = job.step {
                " " progress value=(done) max=(total.max(1)) aria-label="the current step" {}
                " " (text::count(done)) " of " (text::count(total))
            }
            @if !job.lines.is_empty() {
                details open[job.is_unfinished()] {
                    summary { "Steps" }
                    ol { @for line in &job.lines { li { (text::text(line)) } } }
                    @if job.older_lines > 0 { p.note { (text::count(job.older_lines)) " older ones are left out." } }
                }
            }
        }
    }
}

/// An event for each change of the jobs of `area`, until none is unfinished.
pub(super) fn events(process: Arc<Process>, area: &'static str) -> Result<Events, ApiError> {
    let permit = process.stream_begins()?;
    let mut changes = process.jobs.changes();
    let stream = async_stream::stream! {
        let _held = permit;
        loop {
            changes.mark_unchanged();
            yield Ok::<_, Infallible>(Bytes::from_static(b"event: progress\ndata:\n\n"));
            if !process.jobs.of(area).iter().any(JobState::is_unfinished) {
                break;
            }
            tokio::select! {
                () = process.stopping() => break,
                // The process has the jobs.
                _ = changes.changed() => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok(Events::new((headers, Body::from_stream(stream)).into_response()))
}
