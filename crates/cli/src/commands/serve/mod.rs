//! `panopticon serve`: the services over HTTP.

mod embedded;
mod judging;
mod maintenance;
mod monitor;
mod settings;
mod storages;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use embed::{Embedder, EmbedderConfig};
use judge::{
    engine::Observer,
    runs::{RecorderState, RunnerConfig, Runs, Shutdown},
};
use records::Service;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::{
    ChromaApi, ConnectionLimits, EmbeddingModel, Listener, ListenerError, Need, PoolProbe, Probes, Process,
    ShownSetting, Supervisor, TaskState, UpkeepConfig, chroma, gateway, services,
};
use store::postgres::{Database, Table, collection_records::Collections};
use tokio::{
    sync::Mutex,
    task::{JoinError, JoinSet},
};
use upkeep::Policy;

use self::{
    maintenance::Maintainer,
    monitor::SearchMonitor,
    settings::{Role, Settings},
    storages::{Opened, Replicas},
};
use super::{config, demo, search::open_model, warn_of_remarks};
use crate::{
    arguments::ServeArguments,
    configuration::{Configuration, MaintenanceSettings},
    connection::DEMO_DATABASE,
    exit::{ExitCode, Failure},
    interrupt::Signals,
    logging,
    output::print,
    settings::table::{MAINTENANCE, OTEL_EXPORTER_OTLP_ENDPOINT, PANOPTICON_MAX_CONNECTIONS},
    telemetry::{self, Traces},
};

/// Shorter than a service keeps an idle connection, so that none is used that it is about to close.
const IDLE_UPSTREAM: Duration = Duration::from_secs(20);

/// Serves until a signal arrives.
pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &ServeArguments,
    mut signals: Signals,
) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let for_demo = arguments.demo.then(|| configuration.clone().for_demo());
    let configuration = for_demo.as_ref().unwrap_or(configuration);
    let settings = Settings::gather(configuration, arguments).map_err(Failure::usage)?;
    let endpoint = configuration.text(&OTEL_EXPORTER_OTLP_ENDPOINT)?;
    let traces = endpoint.map(Traces::start).transpose().map_err(Failure::usage)?;
    let (level, format) = configuration.logging()?;
    logging::start(level, format, traces.as_ref().map(Traces::layer));
    warn_of_remarks(configuration);
    let ended = async {
        if arguments.makes_demo {
            tokio::select! {
                made = Box::pin(demo::run(configuration, demo::Then::Serve)) => made?,
                () = signals.next() => return Ok(ExitCode::Interrupted),
            };
        }
        serve(configuration, settings, &mut signals, began).await
    };
    let ended = ended.await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    ended
}

async fn serve(
    configuration: &Configuration,
    settings: Settings,
    signals: &mut Signals,
    began: Instant,
) -> Result<ExitCode, Failure> {
    let serving = tokio::select! {
        serving = Serving::begin(configuration, settings) => serving?,
        () = signals.next() => return Ok(ExitCode::Interrupted),
    };
    print(&format!("ready in {} ms", began.elapsed().as_millis()))?;
    serving.until_signal(signals).await
}

/// Why an address cannot be served, with the flag or variable for another port.
fn bind_failure(error: ListenerError, role: Role) -> anyhow::Error {
    let remedy = match &error {
        ListenerError::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
            Some(role.other_port(address.port()))
        }
        _ => None,
    };
    match remedy {
        Some(remedy) => anyhow::Error::from(error).context(remedy),
        None => error.into(),
    }
}

/// What each page says of the demo's data.
const NOTICE: &str = "Sample data of `panopticon demo`: models and answers are invented, verdicts and labels are drawn at random by a script.";

/// Whether it is the demo's database, however it was named.
fn is_demo(database: &Database) -> bool {
    database.address().rsplit('/').next() == Some(DEMO_DATABASE)
}

/// Warns of tables that need a different index. Searches are correct without it, but slower.
async fn warn_of_indexes(database: &Database, services: &[Service], policy: &Policy) {
    for table in services.iter().copied().map(Table::of) {
        match upkeep::observe(database, &table).await {
            Ok(observation) => {
                let plan = upkeep::plan(&observation, policy);
                if !plan.is_empty() {
                    tracing::warn!(
                        table.name = table.name,
                        table.rows = plan.rows,
                        "table {} needs a different vector index: run `panopticon index apply`, or set {MAINTENANCE}=on",
                        table.name
                    );
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    table.name = table.name,
                    "the indexes of {} cannot be read",
                    table.name
                );
            }
        }
    }
}

/// Background tasks, restarted after a panic.
#[derive(Clone)]
struct Background {
    supervisor: Supervisor,
    shutdown: Shutdown,
}

impl Background {
    async fn maintain(self, maintainer: Maintainer) {
        let Self { supervisor, shutdown } = &self;
        supervisor
            .keep("maintenance", Need::Upkeep, shutdown, |pulse| Box::pin(maintainer.run(shutdown, pulse)))
            .await;
    }

    async fn warn_of_indexes(self, database: Database, services: Vec<Service>, policy: Policy) {
        let warn = |_| warn_of_indexes(&database, &services, &policy);
        self.supervisor.keep("look at indexes", Need::Upkeep, &self.shutdown, warn).await;
    }

    async fn monitor(self, monitor: SearchMonitor) {
        let Self { supervisor, shutdown } = &self;
        // A restarted task uses the same monitor as the one that panicked.
        let monitor = Mutex::new(monitor);
        let monitor = &monitor;
        let run = |pulse| async move { monitor.lock().await.run(shutdown, &pulse).await };
        supervisor.keep("monitor", Need::Upkeep, shutdown, run).await;
    }

    /// What people start on the console.
    async fn jobs(self, process: Arc<Process>) {
        let (Self { supervisor, shutdown }, process) = (&self, &process);
        let work = |_| async move { process.carry_out_jobs(shutdown).await };
        supervisor.keep("console jobs", Need::Upkeep, shutdown, work).await;
    }

    async fn work_on(self, runs: Runs) {
        let (Self { supervisor, shutdown }, runs) = (&self, &runs);
        supervisor
            .keep("runner", Need::Service, shutdown, |pulse| async move {
                runs.work_on_all(shutdown, |failure| pulse.beat(failure)).await
            })
            .await;
    }
}

/// The listeners, and what they serve.
struct Serving {
    process: Arc<Process>,
    shutdown: Shutdown,
    listeners: JoinSet<Result<(), server::ListenerError>>,
    /// Runs, maintenance and monitoring.
    workers: JoinSet<()>,
    /// `None` for the gateway.
    storages: Option<Opened>,
    /// Time from the signal within which work in progress has to end.
    grace: Duration,
}

impl Serving {
    /// Opens storages, model and listeners, and starts to serve.
    async fn begin(configuration: &Configuration, settings: Settings) -> Result<Self, Failure> {
        let Settings { server: config, addresses, upstreams, replicas, .. } = &settings;
        let replicas = Replicas::Configured(replicas);
        let served = settings.services();
        let shown: Vec<ShownSetting> = configuration
            .settings()
            .iter()
            .map(|setting| ShownSetting {
                name: setting.row.name,
                value: config::shown(setting),
                origin: config::origin(setting),
            })
            .collect();
        let (mut search_monitor, supervisor) = (None, Supervisor::default());
        let (process, storages, model, runs) = if settings.has(Role::Chroma) {
            let storages = Opened::open_collections(configuration, replicas, &supervisor).await?;
            let mut probes = Probes {
                pool: storages.database.as_ref().map(pool_probe),
                replicated: storages.replicated(),
                settings: shown,
                supervisor: supervisor.clone(),
                ..Probes::default()
            };
            if let Some(database) = &storages.database
                && let Some((monitor, probe)) = SearchMonitor::begin(configuration, database)?
            {
                (search_monitor, probes.searches) = (Some(monitor), Some(probe));
            }
            (Process::new(config.clone(), probes), Some(storages), None, None)
        } else if served.is_empty() {
            let probes = Probes { settings: shown, supervisor: supervisor.clone(), ..Probes::default() };
            (Process::new(config.clone(), probes), None, None, None)
        } else {
            let opened = with_sources(configuration, &served)?;
            let (storages, model) = tokio::try_join!(
                Opened::open(configuration, &opened, replicas, &supervisor),
                embedding_model(configuration)
            )?;
            let embedding = model.clone();
            supervisor.watch("embedding", Need::Service, move || embedding.state());
            let mut probes = Probes {
                pool: storages.database.as_ref().map(pool_probe),
                notice: storages.database.as_ref().filter(|database| is_demo(database)).map(|_| NOTICE),
                searches: None,
                supervisor: supervisor.clone(),
                database: storages.database.clone(),
                replicated: storages.replicated(),
                settings: shown,
                upkeep: Some(UpkeepConfig {
                    policy: configuration.index_policy()?,
                    limits: configuration.maintenance()?.limits,
                    origin: storages.origin(),
                }),
            };
            if let Some(database) = &storages.database
                && let Some((monitor, probe)) = SearchMonitor::begin(configuration, database)?
            {
                (search_monitor, probes.searches) = (Some(monitor), Some(probe));
            }
            let process = Process::new(config.clone(), probes);
            let runs = runs(configuration, &storages, model.embedder(), process.observer())?;
            if let Some(runs) = runs.clone() {
                let state = move || {
                    let RecorderState { restarts, problem } = runs.recorder_state();
                    TaskState { restarts, problem }
                };
                supervisor.watch("recorder", Need::Upkeep, state);
            }
            (process, Some(storages), Some(model), runs)
        };
        let limits = ConnectionLimits {
            connections: connections(configuration, addresses.len())?,
            // hyper's own default.
            head: Duration::from_secs(30),
            // A client that reads nothing for this long is gone.
            write: Duration::from_secs(30),
            grace: settings.grace,
        };
        let (shutdown, mut listeners, mut workers) = (Shutdown::default(), JoinSet::new(), JoinSet::new());
        let database = storages.as_ref().and_then(|storages| storages.database.clone());
        let collections = database.map(|database| ChromaApi::new(Collections::new(database), settings.reset));
        let mut console = None;
        for (role, address) in addresses {
            let router = match (role, &storages, &model) {
                (Role::Chroma, ..) => chroma(collections.as_ref().context("its database is open")?, &process),
                (Role::Service(service), Some(storages), Some(model)) => {
                    services(&storages.of(&[*service]), runs.as_ref(), model, None, &process)
                }
                (Role::All, Some(storages), Some(model)) => {
                    services(&storages.of(&served), runs.as_ref(), model, collections.as_ref(), &process)
                }
                _ => gateway(upstreams, settings.chroma.as_deref(), &http_client()?, &process),
            };
            let listener = Listener::bind(*address).await.map_err(|error| bind_failure(error, *role))?;
            print(&format!("{}: http://{}", role.as_str(), listener.address()))?;
            // The gateway's shows everything.
            match role {
                Role::Gateway | Role::All => console = Some(listener.address()),
                Role::Service(_) => console = console.or(Some(listener.address())),
                Role::Chroma => {}
            }
            listeners.spawn(listener.serve(router, shutdown.clone(), limits));
        }
        if let Some(console) = console {
            print(&format!("console: http://{console}"))?;
        }
        let background = Background { supervisor, shutdown: shutdown.clone() };
        if let Some(database) = storages.as_ref().and_then(|storages| storages.database.clone()) {
            let policy = configuration.index_policy()?;
            let MaintenanceSettings { is_on, interval, limits } = configuration.maintenance()?;
            if is_on {
                let process = Arc::clone(&process);
                let maintainer = Maintainer { database, policy, limits, interval, process };
                workers.spawn(background.clone().maintain(maintainer));
            } else {
                workers.spawn(background.clone().warn_of_indexes(database, served.clone(), policy));
            }
        }
        if let Some(monitor) = search_monitor {
            workers.spawn(background.clone().monitor(monitor));
        }
        workers.spawn(background.clone().jobs(process.clone()));
        if let Some(runs) = runs {
            workers.spawn(background.work_on(runs));
        }
        Ok(Self { process, shutdown, listeners, workers, storages, grace: settings.grace })
    }

    /// Serves until a signal arrives or an address fails, then finishes the accepted requests.
    async fn until_signal(mut self, signals: &mut Signals) -> Result<ExitCode, Failure> {
        let mut result = tokio::select! {
            Some(ended) = self.listeners.join_next() => {
                how_it_ended(ended).and(Err(anyhow!("an address is no longer served")))
            }
            () = signals.next() => Ok(()),
        };
        self.process.begin_stopping();
        self.shutdown.begin();
        let end = Instant::now() + self.grace;
        let listeners = &mut self.listeners;
        let requests = async {
            let mut result = Ok(());
            while let Some(ended) = listeners.join_next().await {
                result = result.and(how_it_ended(ended));
            }
            result
        };
        let workers = &mut self.workers;
        // The next process continues unfinished work, and repeats calls in progress.
        let workers =
            tokio::time::timeout_at(end.into(), async { while workers.join_next().await.is_some() {} });
        tokio::select! {
            (answered, _) = async { tokio::join!(requests, workers) } => result = result.and(answered),
            // A second signal asks for an immediate end.
            () = signals.next() => {}
        }
        self.workers.shutdown().await;
        if let Some(storages) = self.storages {
            storages.close().await?;
        }
        result?;
        Ok(ExitCode::Complete)
    }
}

fn how_it_ended(ended: Result<Result<(), server::ListenerError>, JoinError>) -> anyhow::Result<()> {
    ended.context("serving an address ended")?.map_err(anyhow::Error::from)
}

/// The runs of the judge with the storages that they need, without HTTP.
pub(super) struct OpenRuns {
    pub(super) runs: Runs,
    storages: Opened,
}

impl OpenRuns {
    pub(super) async fn open(configuration: &Configuration) -> Result<Self, Failure> {
        let opened = with_sources(configuration, &[Service::Judge])?;
        let supervisor = Supervisor::default();
        let (storages, model) = tokio::try_join!(
            Opened::open(configuration, &opened, Replicas::Unused, &supervisor),
            open_model(configuration)
        )?;
        let embedder = Arc::new(embedder(&Arc::new(model))?);
        match runs(configuration, &storages, &embedder, &Observer::default())? {
            Some(runs) => Ok(Self { runs, storages }),
            None => unreachable!("the judge's storage was opened"),
        }
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        self.storages.close().await
    }
}

/// The runs of the judge, if its storage is open.
fn runs(
    configuration: &Configuration,
    storages: &Opened,
    embedder: &Arc<Embedder>,
    observer: &Observer,
) -> Result<Option<Runs>, Failure> {
    let judging = judging::judging(configuration, storages, embedder, observer)?;
    Ok(judging.map(|judging| Runs::new(&judging, RunnerConfig::default())))
}

/// The services whose storages are needed: those that are served and, for the judge, those whose records it reads,
/// unless a URL says that they run separately.
fn with_sources(configuration: &Configuration, served: &[Service]) -> Result<Vec<Service>, Failure> {
    let mut needed = served.to_vec();
    if served.contains(&Service::Judge) {
        for service in [Service::Query, Service::Evaluation] {
            let is_remote = settings::upstream(configuration, service).map_err(Failure::usage)?.is_some();
            if !served.contains(&service) && !is_remote {
                needed.push(service);
            }
        }
    }
    Ok(needed)
}

async fn embedding_model(configuration: &Configuration) -> Result<EmbeddingModel, Failure> {
    let model = Arc::new(open_model(configuration).await?);
    let queue = embedder(&model)?;
    Ok(EmbeddingModel::new(model, queue))
}

fn embedder(model: &Arc<embed::Model>) -> Result<Embedder, Failure> {
    let embedder = Embedder::start(Arc::clone(model), EmbedderConfig::default());
    Ok(embedder.map_err(anyhow::Error::from)?)
}

/// Connections per address, leaving enough descriptors for PostgreSQL, models and files.
fn connections(configuration: &Configuration, addresses: usize) -> Result<usize, Failure> {
    let wanted = configuration.get(&PANOPTICON_MAX_CONNECTIONS).map_err(Failure::usage)?;
    let descriptors = usize::try_from(raise_descriptors()).unwrap_or(usize::MAX);
    let fit = descriptors.saturating_sub(OWN_DESCRIPTORS) / addresses.max(1);
    let connections = wanted.min(fit.max(1));
    if wanted > connections && configuration.is_given(&PANOPTICON_MAX_CONNECTIONS) {
        tracing::warn!(
            "{PANOPTICON_MAX_CONNECTIONS} exceeds what {descriptors} file descriptors (ulimit -n) allow: using {connections} at each address"
        );
    }
    Ok(connections)
}

/// Descriptors for everything but clients: the pool, providers, logs, files.
const OWN_DESCRIPTORS: usize = 200;

/// Raises the limit of file descriptors to the hard limit, and returns it.
fn raise_descriptors() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(u64::MAX);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum });
    match raised {
        Ok(()) => most,
        Err(_) => limits.current.unwrap_or(most),
    }
}

fn http_client() -> Result<reqwest::Client, Failure> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(telemetry::tls().map_err(Failure::usage)?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(IDLE_UPSTREAM)
        .build();
    Ok(client.context("failed to create the gateway's HTTP client")?)
}

fn pool_probe(database: &store::postgres::Database) -> PoolProbe {
    let database = database.clone();
    PoolProbe::new(move || {
        let (size, idle) = database.connections();
        server::PoolState { size, idle }
    })
}
