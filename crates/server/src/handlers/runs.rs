//! Runs: batches of evaluations that are processed in the background.

use std::{convert::Infallible, sync::Arc, time::Duration};

use aide::{OperationOutput, generate::GenContext, openapi};
use axum::{
    body::{Body as HttpBody, Bytes},
    extract::{FromRef, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::Stream;
use judge::{
    engine::RunError,
    runs::{Begun, Retry, RunProgress, RunSnapshot, RunWatch, Runs},
};
use records::Service;
use store::storage::Cursor;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use uuid::Uuid;

use crate::{
    answer::{Answer, ApiError, Enveloped},
    process::Process,
    request::{Body, Both, IdempotencyKey, OptionalBody, Parameters, Rejected, Segment},
    wire::{DeletedRun, KeysetPage, KeysetParameters, NewRun, ResumeRun, RunFilters},
};

type Result<T> = std::result::Result<T, ApiError>;

/// The runs, and the process that serves them.
#[derive(Clone)]
pub(crate) struct ServedRuns {
    pub(crate) runs: Runs,
    pub(crate) process: Arc<Process>,
}

impl FromRef<ServedRuns> for Runs {
    fn from_ref(served: &ServedRuns) -> Self {
        served.runs.clone()
    }
}

/// Creates a run.
pub(crate) async fn create(
    State(runs): State<Runs>,
    key: IdempotencyKey,
    body: Body<NewRun, Rejected>,
) -> Result<Answer<Enveloped, RunProgress>> {
    let id = Uuid::try_parse(&key.id(Service::Judge, 0)).expect("keys make UUIDs");
    Ok(match runs.create(body.value.into_request(id)?).await? {
        Begun::New(progress) => Answer::new(*progress, "begun"),
        Begun::Before(progress) => Answer::new(*progress, "begun").replayed(),
    })
}

/// Lists runs, newest first.
pub(crate) async fn list(
    State(runs): State<Runs>,
    parameters: Parameters<Both<RunFilters, KeysetParameters>, Rejected>,
) -> Result<Answer<Enveloped, KeysetPage<RunProgress>>> {
    let Both(filters, keyset) = parameters.value;
    Ok(Answer::new(listed(&runs, &filters, &keyset).await?, "listed"))
}

/// A page of runs.
pub(crate) async fn listed(
    runs: &Runs,
    filters: &RunFilters,
    keyset: &KeysetParameters,
) -> Result<KeysetPage<RunProgress>> {
    let place = |cursor: &str| {
        let Cursor { created_at, key } = cursor.parse().ok()?;
        Some((created_at?.in_calendar()?, key))
    };
    let after = match keyset.cursor.as_deref().map(place) {
        None => None,
        Some(Some(after)) => Some(after),
        Some(None) => return Err(ApiError::invalid("cursor", "expected the `next_cursor` of a response")),
    };
    let (listed, has_more) = runs.list(filters.state(), after, keyset.limit.get()).await?;
    let next_cursor = listed
        .last()
        .filter(|_| has_more)
        .map(|last| Cursor { created_at: Some(last.created_at.into()), key: last.id }.to_string());
    Ok(KeysetPage { items: listed, next_cursor })
}

/// Shows a run and its progress.
pub(crate) async fn get(
    State(runs): State<Runs>,
    Segment(id): Segment,
) -> Result<Answer<Enveloped, RunProgress>> {
    Ok(Answer::new(runs.progress(run_id(&id)?).await?, "found"))
}

/// Cancels a run.
pub(crate) async fn cancel(
    State(runs): State<Runs>,
    Segment(id): Segment,
) -> Result<Answer<Enveloped, RunProgress>> {
    Ok(Answer::new(runs.cancel(run_id(&id)?).await?, "cancelled"))
}

/// Resumes a run.
pub(crate) async fn resume(
    State(runs): State<Runs>,
    Segment(id): Segment,
    OptionalBody(body): OptionalBody<ResumeRun, Rejected>,
) -> Result<Answer<Enveloped, RunProgress>> {
    let ResumeRun { budget, retry_failed } = body.value;
    let retry = if retry_failed { Retry::Failed } else { Retry::Nothing };
    Ok(Answer::new(runs.resume(run_id(&id)?, budget, retry).await?, "resumed"))
}

/// Deletes a run with its results.
pub(crate) async fn delete(
    State(runs): State<Runs>,
    Segment(id): Segment,
) -> Result<Answer<Enveloped, DeletedRun>> {
    let id = run_id(&id)?;
    runs.delete(id).await?;
    Ok(Answer::new(DeletedRun { id: id.to_string() }, "deleted"))
}

/// Streams the progress of a run on each change, until the run or the process stops.
pub(crate) async fn events(
    State(ServedRuns { runs, process }): State<ServedRuns>,
    Segment(id): Segment,
) -> Result<Events> {
    let permit = process.stream_begins()?;
    let id = run_id(&id)?;
    let watch = runs.watch(id);
    let first = runs.progress_lately(&watch, PAUSE).await?;
    let events = progress_events(runs, watch, first, (process, permit));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok(Events((headers, HttpBody::from_stream(events)).into_response()))
}

/// Polling interval.
const PAUSE: Duration = Duration::from_millis(500);

/// Maximum time without an event, so that proxies see that the connection is alive.
const SILENCE: Duration = Duration::from_secs(15);

/// All clients that watch the run share the memory of an event: there may be many, and they may read slowly or not at
/// all.
fn progress_events(
    runs: Runs,
    watch: Arc<RunWatch>,
    first: Arc<RunSnapshot>,
    (process, permit): (Arc<Process>, OwnedSemaphorePermit),
) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
    async_stream::stream! {
        let _held = permit;
        let (mut shown, mut sent) = (first, Instant::now());
        yield Ok(event(&shown));
        while shown.progress.is_running() {
            tokio::select! {
                // Clients reconnect to the next process.
                () = process.stopping() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
            // A store that is briefly unavailable does not end the stream; deletion of the run does.
            match runs.progress_lately(&watch, PAUSE).await {
                Ok(now) if now.progress != shown.progress => {
                    (shown, sent) = (now, Instant::now());
                    yield Ok(event(&shown));
                }
                Ok(_) => {}
                Err(RunError::NotFound { .. }) => break,
                // The caller logged the error.
                Err(_) => {}
            }
            if sent.elapsed() >= SILENCE {
                sent = Instant::now();
                yield Ok(Bytes::from_static(b":\n\n"));
            }
        }
    }
}

fn event(run: &RunSnapshot) -> Bytes {
    let written = run.written(|progress| {
        let mut event = b"event: progress\ndata: ".to_vec();
        serde_json::to_writer(&mut event, progress).expect("wire types are JSON");
        event.extend_from_slice(b"\n\n");
        event
    });
    Bytes::from_owner(written)
}

/// Server-sent events.
pub(crate) struct Events(Response);

impl Events {
    /// Those of `response`.
    pub(crate) fn new(response: Response) -> Self {
        Self(response)
    }
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for Events {
    type Inner = RunProgress;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let content = [("text/event-stream".to_owned(), openapi::MediaType::default())];
        let response = openapi::Response {
            description: "An event `progress` for each change, with the run in the format of `GET`."
                .to_owned(),
            content: content.into_iter().collect(),
            ..openapi::Response::default()
        };
        vec![(Some(200), response)]
    }
}

/// No run has an invalid id.
pub(crate) fn run_id(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|_| ApiError::NoRecord { noun: "run", id: id.to_owned() })
}
