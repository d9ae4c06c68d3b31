//! Health, readiness, metrics and the OpenAPI document.

use std::{sync::Arc, time::Duration};

use aide::{OperationOutput, generate::GenContext, openapi};
use axum::{
    extract::{Extension, Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use records::error_chain;
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    postgres::{ServerState, collection_records::Collections},
    storage::Storage,
};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    answer::{Answer, ApiError, Check, Enveloped},
    layers::has_key,
    openapi::Document,
    process::Process,
    searches::{SearchAlert, SearchProbe},
    supervisor::{NamedTask, Need, TaskState},
    upstream::Passage,
};

/// A store that takes longer to respond counts as unavailable.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a result is reused: `/ready` is open to every client, and each check queries stores or services.
const CHECKS_LAST: Duration = Duration::from_secs(1);

/// What `/ready` checks.
#[derive(Clone)]
pub(crate) struct Operated {
    probes: Arc<[Probe]>,
    process: Arc<Process>,
    /// The last results and their time. Locked while the checks run, so that concurrent requests wait for the same
    /// results.
    checked: Arc<Mutex<Option<Checked>>>,
}

type Checked = (Instant, Vec<Check>);

impl Operated {
    /// The process, and the probes that must succeed for it to be ready.
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

/// A dependency that must respond.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// A store.
    Storage(Arc<dyn Storage>),
    /// The collections that Chroma clients see.
    Collections(Collections),
    /// A service behind the gateway.
    Passage(Passage),
    /// The model: always ready, since no service starts without it.
    Model,
}

/// The process is alive.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Alive {
    version: &'static str,
}

/// Whether requests can be served.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ready {
    /// The checks; only for clients with the key.
    checks: Option<Vec<Check>>,
    /// The background tasks; only for clients with the key.
    background: Option<Vec<BackgroundTask>>,
    /// Problems of searches, which do not affect readiness; only for clients with the key.
    alerts: Option<Vec<SearchProblem>>,
    /// The primary and its replicas, if there are any. A replica does not affect readiness, since the primary answers in its
    /// place; only for clients with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<DatabaseServer>>,
}

/// A server that answers statements.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DatabaseServer {
    /// Host, port and database.
    address: String,
    /// `primary` or `replica`.
    role: &'static str,
    /// Whether it answers reads.
    up: bool,
    /// Why it answers none.
    reason: Option<String>,
    /// How far it is behind the primary, in bytes of the log.
    lag_bytes: Option<u64>,
    /// The same in seconds.
    lag_seconds: Option<u64>,
    /// Its share of the reads that this process has made.
    share_of_reads: Option<f64>,
}

/// A background task, which is restarted when it panics.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BackgroundTask {
    name: &'static str,
    /// Whether it runs.
    up: bool,
    /// How often it was restarted.
    restarts: u64,
    /// Why it does not run.
    reason: Option<String>,
}

/// Searches with low recall, high latency, or missing results.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SearchProblem {
    /// The table that is searched.
    table: String,
    /// The filters of the searches: `none`, `category`, `metadata`, `text`, `time` or `several`.
    filter_class: &'static str,
    /// What is wrong: `recall`, `latency` or `results`.
    alert: &'static str,
    /// The problem as a sentence, with the measured values.
    reason: Option<String>,
}

/// Reports that the process is alive.
pub(crate) async fn health() -> Answer<Enveloped, Alive> {
    Answer::new(Alive { version: env!("CARGO_PKG_VERSION") }, "alive")
}

/// Reports whether requests can be served: stores respond and accept writes, their schema is current, the model is
/// loaded, and the background tasks that serve clients run.
pub(crate) async fn ready(
    State(operated): State<Operated>,
    aide::NoApi(request): aide::NoApi<Request>,
) -> Result<Answer<Enveloped, Ready>, ApiError> {
    let is_stopping = operated.process.is_stopping();
    let reason = is_stopping.then(|| "shutting down".to_owned());
    let mut checks = vec![Check { name: "process".to_owned(), ready: !is_stopping, reason }];
    checks.extend(operated.checks().await);
    let background = operated.process.supervisor.seen();
    checks.extend(background.iter().filter(|task| task.need == Need::Service).map(|task| {
        let reason = task.state.problem.clone();
        Check { name: format!("background task `{}`", task.name), ready: reason.is_none(), reason }
    }));
    let is_ready = checks.iter().all(|check| check.ready);
    let shows_details = has_key(&operated.process, request.headers());
    let checks = shows_details.then_some(checks);
    if !is_ready {
        return Err(ApiError::NotReady { checks });
    }
    let background = shows_details.then(|| background.into_iter().map(BackgroundTask::from).collect());
    let alerts = shows_details.then(|| search_problems(&operated.process));
    let servers = operated.process.replicated.as_ref().filter(|_| shows_details);
    let servers = servers.map(|database| database_servers(database.read_servers()));
    Ok(Answer::new(Ready { checks, background, alerts, servers }, "ready"))
}

fn database_servers(servers: Vec<ServerState>) -> Vec<DatabaseServer> {
    let all: u64 = servers.iter().map(|server| server.reads).sum();
    let shown = |server: ServerState| DatabaseServer {
        role: server.role(),
        address: server.address,
        up: server.problem.is_none(),
        reason: server.problem,
        lag_bytes: server.lag.map(|lag| lag.bytes),
        lag_seconds: server.lag.map(|lag| lag.time.as_secs()),
        share_of_reads: (all > 0).then(|| server.reads as f64 / all as f64),
    };
    servers.into_iter().map(shown).collect()
}

impl From<NamedTask> for BackgroundTask {
    fn from(NamedTask { name, need: _, state: TaskState { restarts, problem } }: NamedTask) -> Self {
        Self { name, up: problem.is_none(), restarts, reason: problem }
    }
}

fn search_problems(process: &Process) -> Vec<SearchProblem> {
    let alerts = process.searches.as_ref().map_or_else(Vec::new, SearchProbe::alerts);
    let problem = |alert: SearchAlert| SearchProblem {
        table: alert.table,
        filter_class: alert.filter_class.as_str(),
        alert: alert.kind,
        reason: alert.reason,
    };
    alerts.into_iter().map(problem).collect()
}

async fn check(probe: &Probe) -> Check {
    let (name, asked) = match probe {
        Probe::Storage(storage) => {
            let name = format!("{} storage ({})", storage.service(), storage.kind());
            (name, tokio::time::timeout(CHECK_TIMEOUT, ask_storage(storage)).await)
        }
        Probe::Collections(collections) => {
            let asked = tokio::time::timeout(CHECK_TIMEOUT, collections.check()).await;
            ("collections".to_owned(), asked.map(|checked| checked.err().map(|error| error_chain(&error))))
        }
        Probe::Passage(passage) => {
            let name = format!("{} service", passage.name);
            (name, tokio::time::timeout(CHECK_TIMEOUT, ask_service(passage)).await)
        }
        Probe::Model => ("model".to_owned(), Ok(None)),
    };
    let reason = asked.unwrap_or_else(|_| Some(format!("no response within {} s", CHECK_TIMEOUT.as_secs())));
    Check { name, ready: reason.is_none(), reason }
}

/// The problem of a store, if any.
async fn ask_storage(storage: &Arc<dyn Storage>) -> Option<String> {
    let checked = match storage.check().await {
        Ok(()) => storage.check_writes().await,
        failed => failed,
    };
    checked.err().map(|error| ApiError::from(error).chain())
}

/// The problem of a service behind the gateway, if any.
async fn ask_service(passage: &Passage) -> Option<String> {
    let Passage { name, url, client, .. } = passage;
    match client.get(format!("{url}/ready")).send().await {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("status {}", answer.status())),
        Err(source) => Some(ApiError::Gateway { service: name, source }.chain()),
    }
}

/// Shows the metrics.
pub(crate) async fn metrics(State(operated): State<Operated>) -> Text {
    Text {
        media_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
        body: operated.process.metrics.to_text(),
    }
}

/// Shows the OpenAPI document of this service.
pub(crate) async fn document(aide::NoApi(Extension(document)): aide::NoApi<Extension<Document>>) -> Text {
    Text { media_type: "application/json", body: document.0.to_string() }
}

/// A text with its media type.
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
