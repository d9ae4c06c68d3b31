//! A process like that of `panopticon serve`, on a database per test.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use embed::{Embedder, EmbedderConfig, Model};
use judge::{
    engine::{CallLimits, JudgeConfig, Judging, ProviderAccess, RecordSource, StoredRecords},
    provider::{ProviderConfig, limits::Backoff},
    runs::{RunnerConfig, Runs, Shutdown},
};
use records::Service;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use server::{
    ChromaApi, ConnectionLimits, EmbeddingModel, Listener, ListenerError, Need, PoolProbe, PoolState, Probes,
    Process, Pulse, RemoteService, Reset, ServerConfig, Supervisor, TaskState, UpkeepConfig, Upstream,
    services,
};
use store::{
    json::{Decoded, decode_answer},
    postgres::{Database, PostgresStorage, collection_records::Collections},
    storage::Storage,
};
use test_support::{TestDatabase, model_dir};
use tokio::task::JoinHandle;
use upkeep::{Policy, doctor::ServerOrigin, maintenance::Limits};

use crate::search_metrics::searches;

/// Long enough for a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// No client is disconnected within a test because it reads nothing, unless another one needs its place.
pub(crate) const TIMES: ConnectionLimits = ConnectionLimits {
    connections: 100,
    head: PATIENCE,
    write: Duration::from_secs(3_600),
    grace: Duration::from_secs(3_600),
};

/// The key of separate services.
pub(crate) const KEY: &str = "the services' key";

const BACKOFF: Backoff = Backoff {
    max_retries: 1,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(1),
    // A provider's Retry-After pauses the model for that time, for later requests too.
    longest_asked: Duration::from_millis(50),
};

/// All three services at one address.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Arc<Process>,
    pub(crate) supervisor: Supervisor,
    pub(crate) shutdown: Shutdown,
    pub(crate) serving: JoinHandle<Result<(), ListenerError>>,
    pub(crate) database: Database,
    client: reqwest::Client,
    /// Dropped last.
    test_database: Option<TestDatabase>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body.
    pub(crate) fn json(&self) -> Value {
        let Decoded { value, problems } = decode_answer(&self.text);
        assert_eq!(problems, [], "{self:?}");
        value
    }

    /// `data` of a success.
    pub(crate) fn data(&self) -> Value {
        let mut json = self.json();
        assert_eq!((self.status, json["status"].as_str()), (200, Some("success")), "{self:?}");
        assert_is_timestamp(&json["timestamp"]);
        assert!(json["message"].is_string(), "{self:?}");
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(4), "{self:?}");
        json["data"].take()
    }

    /// `message` of an error with this status.
    pub(crate) fn message(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!((self.status, json["status"].as_str()), (status, Some("error")), "{self:?}");
        assert_is_timestamp(&json["timestamp"]);
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(4), "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        json["message"].as_str().expect("an error has a message").to_owned()
    }

    /// The header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are ASCII"))
    }
}

fn assert_is_timestamp(value: &Value) {
    let text = value.as_str().expect("a timestamp is text");
    assert!(text.len() == 26 && records::timestamp::parse(text).is_some(), "{text}");
}

impl Served {
    /// With the default limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerConfig::default()).await
    }

    pub(crate) async fn start_with(config: ServerConfig) -> Self {
        let test_database = TestDatabase::serving().await;
        let mut served = Self::start_on(&test_database.url(), config).await;
        served.test_database = Some(test_database);
        served
    }

    /// With a provider of models, and others without keys.
    pub(crate) async fn start_with_provider(provider: ProviderConfig) -> Self {
        Self::start_with_separate_services(provider, None).await
    }

    /// The same, with queries and metrics from the services at the URL `separate`.
    pub(crate) async fn start_with_separate_services(
        provider: ProviderConfig,
        separate: Option<&str>,
    ) -> Self {
        let test_database = TestDatabase::serving().await;
        let others = ["openai", "anthropic", "google"].into_iter().filter(|name| *name != provider.name);
        let others = others.map(no_key).collect::<Vec<_>>();
        let providers = [ProviderAccess::Ready(provider)].into_iter().chain(others).collect();
        let config = ServerConfig::default();
        let mut served =
            Self::start_judging(&test_database.url(), config, (providers, separate), |storage| storage).await;
        served.test_database = Some(test_database);
        served
    }

    /// With limits, and storages wrapped by `wrap`.
    pub(crate) async fn start_around(
        config: ServerConfig,
        wrap: impl Fn(Arc<dyn Storage>) -> Arc<dyn Storage>,
    ) -> Self {
        let test_database = TestDatabase::serving().await;
        let providers = ["openai", "anthropic", "google"].map(no_key).into();
        let mut served = Self::start_judging(&test_database.url(), config, (providers, None), wrap).await;
        served.test_database = Some(test_database);
        served
    }

    /// With a provider of models, limits, and storages wrapped by `wrap`.
    pub(crate) async fn start_faulty(
        provider: ProviderConfig,
        config: ServerConfig,
        wrap: impl Fn(Arc<dyn Storage>) -> Arc<dyn Storage>,
    ) -> Self {
        let test_database = TestDatabase::serving().await;
        let providers = (vec![ProviderAccess::Ready(provider)], None);
        let mut served = Self::start_judging(&test_database.url(), config, providers, wrap).await;
        served.test_database = Some(test_database);
        served
    }

    /// On the database at `url`, with a provider of models.
    pub(crate) async fn start_with_provider_on(url: &str, provider: ProviderConfig) -> Self {
        let providers = (vec![ProviderAccess::Ready(provider)], None);
        Self::start_judging(url, ServerConfig::default(), providers, |storage| storage).await
    }

    /// Where its records are.
    pub(crate) fn database_url(&self) -> String {
        self.test_database.as_ref().expect("it has a database of its own").url()
    }

    /// On the database at `url`.
    pub(crate) async fn start_on(url: &str, config: ServerConfig) -> Self {
        let providers = ["openai", "anthropic", "google"].map(no_key).into();
        Self::start_judging(url, config, (providers, None), |storage| storage).await
    }

    async fn start_judging(
        url: &str,
        config: ServerConfig,
        (providers, separate): (Vec<ProviderAccess>, Option<&str>),
        wrap: impl Fn(Arc<dyn Storage>) -> Arc<dyn Storage>,
    ) -> Self {
        let database = Database::connect(url).await.expect("the database answers");
        for service in Service::ALL {
            database.prepare_service(service).await.expect("the schema is made");
        }
        let storages: Vec<Arc<dyn Storage>> = Service::ALL
            .map(|service| wrap(Arc::new(PostgresStorage::new(database.clone(), service))))
            .into();
        let pool = database.clone();
        let probe = PoolProbe::new(move || {
            let (size, idle) = pool.connections();
            PoolState { size, idle }
        });
        let supervisor = Supervisor::default();
        let probes = Probes {
            pool: Some(probe),
            searches: Some(searches()),
            supervisor: supervisor.clone(),
            database: Some(database.clone()),
            replicated: None,
            settings: Vec::new(),
            upkeep: Some(UpkeepConfig {
                policy: Policy::default(),
                limits: Limits::default(),
                origin: ServerOrigin::External,
            }),
            notice: None,
        };
        let process = Process::new(config, probes);
        let observer = process.observer();
        let [queries, metrics]: [Arc<dyn RecordSource>; 2] = match separate {
            Some(url) => [Service::Query, Service::Evaluation].map(|service| {
                let upstream = Upstream { service, url: url.to_owned() };
                let remote = RemoteService { upstream, key: Some(KEY.into()), client: client() };
                Arc::new(remote) as Arc<dyn RecordSource>
            }),
            None => [0, 1].map(|index| {
                Arc::new(StoredRecords::new(storages[index].clone(), observer.clone()))
                    as Arc<dyn RecordSource>
            }),
        };
        let judge = JudgeConfig {
            queries,
            metrics,
            outputs: storages.last().expect("the judge's is the last").clone(),
            embedder: Arc::clone(model().embedder()),
            providers,
            temperature: 0.7,
            patience: CallLimits {
                calls_at_once: NonZeroU32::new(8).expect("it is not zero"),
                backoff: BACKOFF,
                run_backoff: BACKOFF,
            },
            observer: observer.clone(),
        };
        let judging = Judging::new(database.clone(), judge).expect("the providers are well configured");
        let runner = RunnerConfig { poll: Duration::from_millis(250), ..RunnerConfig::default() };
        let runs = Runs::new(&judging, runner);
        let recording = runs.clone();
        supervisor.watch("recorder", Need::Upkeep, move || {
            let state = recording.recorder_state();
            TaskState { restarts: state.restarts, problem: state.problem }
        });
        database.create_default_tenant().await.expect("it is created");
        let chroma = ChromaApi::new(Collections::new(database.clone()), Reset::Refused);
        let router = services(&storages, Some(&runs), &model(), Some(&chroma), &process);
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
        let (address, shutdown) = (listener.address(), Shutdown::default());
        let serving = tokio::spawn(listener.serve(router, shutdown.clone(), TIMES));
        let (url, stop) = (format!("http://{address}"), shutdown.clone());
        let kept = supervisor.clone();
        tokio::spawn(async move {
            let (runs, stop) = (&runs, &stop);
            let work =
                |pulse: Pulse| async move { runs.work_on_all(stop, |failure| pulse.beat(failure)).await };
            kept.keep("runner", Need::Service, stop, work).await;
        });
        let (jobs, stop) = (process.clone(), shutdown.clone());
        tokio::spawn(async move { jobs.carry_out_jobs(&stop).await });
        let client = client();
        Self { url, address, process, supervisor, shutdown, serving, database, client, test_database: None }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[], Some(body.to_string())).await
    }

    /// A body is JSON unless a header says otherwise.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        send_to(&self.client, &self.url, method, path, headers, body).await
    }

    /// Runs statements on the test's database.
    pub(crate) async fn execute(&self, statements: &str) {
        self.test_database.as_ref().expect("the database is the test's own").execute(statements).await;
    }

    /// The texts that a statement on that database returns.
    pub(crate) async fn texts(&self, statement: &str) -> Vec<String> {
        self.test_database.as_ref().expect("the database is the test's own").texts(statement).await
    }

    /// Asks for `path` until it answers `status`.
    pub(crate) async fn wait_for(&self, path: &str, status: StatusCode) -> Answer {
        self.wait_until(path, |answer| answer.status == status).await
    }

    pub(crate) async fn wait_until(&self, path: &str, is_met: impl Fn(&Answer) -> bool) -> Answer {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if is_met(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path} answers as expected in time: {answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Serves `router` at a free port until the test ends, and returns its URL.
pub(crate) async fn listen(router: axum::Router) -> String {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let url = format!("http://{}", listener.address());
    // Aborted with the test's runtime.
    tokio::spawn(listener.serve(router, Shutdown::default(), TIMES));
    url
}

pub(crate) async fn send_to(
    client: &reqwest::Client,
    url: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> Answer {
    let mut request = client.request(method, format!("{url}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        request = request.body(body);
    }
    let response = request.send().await.expect("the service answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("the answer is whole");
    Answer { status, headers, text }
}

pub(crate) fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
    builder.redirect(reqwest::redirect::Policy::none()).build().expect("a client is made")
}

fn no_key(provider: &str) -> ProviderAccess {
    ProviderAccess::NoKey { provider: provider.to_owned(), setting: "THE_KEY" }
}

/// The real model, loaded once for all tests.
pub(crate) fn model() -> EmbeddingModel {
    static MODEL: OnceLock<EmbeddingModel> = OnceLock::new();
    let load = || {
        let model = Arc::new(Model::load(&model_dir()).expect("the model loads"));
        let queue = Embedder::start(model.clone(), EmbedderConfig::default()).expect("a thread starts");
        EmbeddingModel::new(model, queue)
    };
    MODEL.get_or_init(load).clone()
}
