//! What operators and their tools ask.

use std::{sync::Arc, time::Duration};

use aide::{OperationOutput, generate::GenContext, openapi};
use axum::{
    extract::{Extension, Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use store::storage::Storage;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    answer::{Answer, ApiError, Check, Enveloped},
    layers::has_key,
    openapi::Document,
    process::Process,
    searches::{SearchAlert, SearchProbe},
    supervisor::{Need, SeenTask, TaskState},
    upstream::{Passage, Upstream},
};

/// A store that takes longer to say that it is there is as good as away.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Anybody may ask whether the process is ready, as often as they like: others are asked no more often than this.
const CHECKS_LAST: Duration = Duration::from_secs(1);

/// Who is asked.
#[derive(Clone)]
pub(crate) struct Operated {
    probes: Arc<[Probe]>,
    process: Arc<Process>,
    /// What was found last, and when. Locked while others are asked, so that whoever asks meanwhile has their answer.
    checked: Arc<Mutex<Option<Checked>>>,
}

/// What was found, and when.
type Checked = (Instant, Vec<Check>);

impl Operated {
    /// The process, and those who have to answer for it to be ready.
    pub(crate) fn new(probes: Vec<Probe>, process: &Arc<Process>) -> Self {
        Self { probes: probes.into(), process: process.clone(), checked: Arc::default() }
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checked = self.checked.lock().await;
        if let Some((at, checks)) = &*checked
            && at.elapsed() < CHECKS_LAST
        {
            return checks.clone();
        }
        let checks = join_all(self.probes.iter().map(check)).await;
        *checked = Some((Instant::now(), checks.clone()));
        checks
    }
}

/// Somebody who has to answer.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// A store.
    Storage(Arc<dyn Storage>),
    /// A service behind the gateway.
    Passage(Passage),
    /// The model: without it no service is made.
    Model,
}

/// The process lives.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Alive {
    version: &'static str,
}

/// Whether requests can be served.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ready {
    /// What was looked at; only for those who have the key.
    checks: Option<Vec<Check>>,
    /// What runs beside requests; only for those who have the key.
    background: Option<Vec<BackgroundTask>>,
    /// What is wrong with searches, which are answered all the same; only for those who have the key.
    alerts: Option<Vec<SearchTrouble>>,
}

/// Something that runs beside requests, and is started again when it panics.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BackgroundTask {
    /// What it is.
    name: &'static str,
    /// Whether it runs.
    up: bool,
    /// How often it was started again.
    restarts: u64,
    /// Why it does not run.
    reason: Option<String>,
}

/// Searches that find too little, take too long, or lack results.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SearchTrouble {
    /// The table that is searched.
    table: String,
    /// What the searches ask for besides nearness: `none`, `category`, `metadata`, `text`, `time` or `several`.
    filter_class: &'static str,
    /// What is wrong: `recall`, `latency` or `results`.
    alert: &'static str,
    /// The same in words, with what was measured.
    reason: Option<String>,
}

/// Says that the process lives.
pub(crate) async fn health() -> Answer<Enveloped, Alive> {
    Answer::new(Alive { version: env!("CARGO_PKG_VERSION") }, "alive")
}

/// Says whether requests can be served: stores answer and take writes, their schema is current, the model is loaded, and
/// what works for clients in the background runs.
pub(crate) async fn ready(
    State(operated): State<Operated>,
    aide::NoApi(request): aide::NoApi<Request>,
) -> Result<Answer<Enveloped, Ready>, ApiError> {
    let is_stopping = operated.process.is_stopping();
    let reason = is_stopping.then(|| "it is stopping".to_owned());
    let mut checks = vec![Check { name: "process".to_owned(), ready: !is_stopping, reason }];
    checks.extend(operated.checks().await);
    let background = operated.process.supervisor.seen();
    checks.extend(background.iter().filter(|task| task.need == Need::Service).map(|task| {
        let reason = task.state.trouble.clone();
        Check { name: format!("background task `{}`", task.name), ready: reason.is_none(), reason }
    }));
    let is_ready = checks.iter().all(|check| check.ready);
    let shows_details = has_key(&operated.process, request.headers());
    let checks = shows_details.then_some(checks);
    if !is_ready {
        return Err(ApiError::NotReady { checks });
    }
    let background = shows_details.then(|| background.into_iter().map(BackgroundTask::from).collect());
    let alerts = shows_details.then(|| troubles(&operated.process));
    Ok(Answer::new(Ready { checks, background, alerts }, "ready"))
}

impl From<SeenTask> for BackgroundTask {
    fn from(SeenTask { name, need: _, state: TaskState { restarts, trouble } }: SeenTask) -> Self {
        Self { name, up: trouble.is_none(), restarts, reason: trouble }
    }
}

fn troubles(process: &Process) -> Vec<SearchTrouble> {
    let alerts = process.searches.as_ref().map_or_else(Vec::new, SearchProbe::alerts);
    let trouble = |alert: SearchAlert| SearchTrouble {
        table: alert.table,
        filter_class: alert.filter_class.as_str(),
        alert: alert.kind,
        reason: alert.reason,
    };
    alerts.into_iter().map(trouble).collect()
}

async fn check(probe: &Probe) -> Check {
    let (name, asked) = match probe {
        Probe::Storage(storage) => {
            let name = format!("{} storage ({})", storage.service(), storage.kind());
            (name, tokio::time::timeout(CHECK_TIMEOUT, ask_storage(storage)).await)
        }
        Probe::Passage(passage) => {
            let name = format!("{} service", passage.upstream.service);
            (name, tokio::time::timeout(CHECK_TIMEOUT, ask_service(passage)).await)
        }
        Probe::Model => ("model".to_owned(), Ok(None)),
    };
    let reason =
        asked.unwrap_or_else(|_| Some(format!("it does not answer within {} s", CHECK_TIMEOUT.as_secs())));
    Check { name, ready: reason.is_none(), reason }
}

/// What is wrong with a store.
async fn ask_storage(storage: &Arc<dyn Storage>) -> Option<String> {
    let checked = match storage.check().await {
        Ok(()) => storage.check_writes().await,
        failed => failed,
    };
    checked.err().map(|error| ApiError::from(error).chain())
}

/// What is wrong with a service behind the gateway.
async fn ask_service(passage: &Passage) -> Option<String> {
    let Passage { upstream: Upstream { service, url }, client, .. } = passage;
    match client.get(format!("{url}/ready")).send().await {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("it answers {}", answer.status())),
        Err(source) => Some(ApiError::Gateway { service: *service, source }.chain()),
    }
}

/// Shows the metrics.
pub(crate) async fn metrics(State(operated): State<Operated>) -> Text {
    Text {
        media_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        body: operated.process.metrics.to_text(),
    }
}

/// Shows the description of this service.
pub(crate) async fn document(aide::NoApi(Extension(document)): aide::NoApi<Extension<Document>>) -> Text {
    Text { media_type: "application/json", body: document.0.to_string() }
}

/// A text of some kind.
pub(crate) struct Text {
    media_type: &'static str,
    body: String,
}

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, self.media_type)], self.body).into_response()
    }
}

impl OperationOutput for Text {
    type Inner = String;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let description = "The text.".to_owned();
        vec![(Some(200), openapi::Response { description, ..openapi::Response::default() })]
    }
}
