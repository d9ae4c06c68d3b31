//! What the judge calls: models at their providers, and the storages or services with queries and metrics.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use embed::Embedder;
use judge::{
    engine::{CallLimits, JudgeConfig, Judging, Observer, ProviderAccess, RecordSource, StoredRecords},
    provider::{ProviderConfig, limits::Backoff},
};
use records::Service;
use rustls::ClientConfig;
use secrecy::SecretString;
use server::RemoteService;

use super::{http_client, settings::upstream, storages::Opened};
use crate::{
    configuration::Configuration,
    exit::Failure,
    settings::{
        Optional, Variable,
        table::{
            ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, API_KEY, GOOGLE_API_KEY, GOOGLE_BASE_URL,
            MODEL_DEFAULT_TEMPERATURE, MODEL_MAX_CONCURRENCY, OPENAI_API_KEY, OPENAI_BASE_URL,
        },
    },
    telemetry::tls_of_certificates,
};

/// Clients wait for evaluations, so a call is given up after about 15 s.
const BACKOFF: Backoff = Backoff {
    max_retries: 4,
    first: Duration::from_millis(500),
    longest: Duration::from_secs(8),
    longest_asked: Duration::from_secs(20),
};

/// No client waits for a run, and rate limits are often per minute: a call is given up after about ten minutes.
const RUN_BACKOFF: Backoff = Backoff {
    max_retries: 10,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(90),
    longest_asked: Duration::from_secs(300),
};

type Provider = fn(Option<SecretString>) -> ProviderConfig;
/// Each provider with its settings for key and base URL.
static PROVIDERS: [(Provider, &Optional<String>, &Variable<String>); 3] = [
    (ProviderConfig::openai, &OPENAI_API_KEY, &OPENAI_BASE_URL),
    (ProviderConfig::anthropic, &ANTHROPIC_API_KEY, &ANTHROPIC_BASE_URL),
    (ProviderConfig::google, &GOOGLE_API_KEY, &GOOGLE_BASE_URL),
];

/// The judge that works with `storages`, which have its results.
pub(super) fn judging(
    configuration: &Configuration,
    storages: &Opened,
    embedder: &Arc<Embedder>,
    observer: &Observer,
) -> Result<Option<Judging>, Failure> {
    let Some(database) = storages.results() else { return Ok(None) };
    let outputs = storages.current(Service::Judge).expect("the judge has a storage").clone();
    let tls = tls_of_certificates().map_err(Failure::usage)?.map(Arc::new);
    let config = JudgeConfig {
        queries: source(configuration, storages, observer, Service::Query)?,
        metrics: source(configuration, storages, observer, Service::Evaluation)?,
        outputs,
        embedder: Arc::clone(embedder),
        providers: PROVIDERS
            .into_iter()
            .map(|(config, key, base_url)| {
                Ok(trusting(provider(configuration, config, key, base_url)?, tls.as_ref()))
            })
            .collect::<Result<_, Failure>>()?,
        temperature: configuration.get(&MODEL_DEFAULT_TEMPERATURE).map_err(Failure::usage)?,
        patience: CallLimits {
            calls_at_once: configuration.get(&MODEL_MAX_CONCURRENCY).map_err(Failure::usage)?,
            backoff: BACKOFF,
            run_backoff: RUN_BACKOFF,
        },
        observer: observer.clone(),
    };
    let judging = Judging::new(database.clone(), config);
    judging.context("the configuration of a model provider is invalid").map(Some).map_err(Failure::usage)
}

/// A provider's default server needs a key; a server that the user names does not.
fn provider(
    configuration: &Configuration,
    config: Provider,
    key: &'static Optional<String>,
    base_url: &Variable<String>,
) -> Result<ProviderAccess, Failure> {
    let secret = configuration.text(key)?.map(SecretString::from);
    Ok(match (secret, configuration.text(base_url)?) {
        (None, None) => ProviderAccess::NoKey { provider: config(None).name, setting: key.name() },
        (secret, None) => ProviderAccess::Ready(config(secret)),
        (secret, Some(url)) => {
            ProviderAccess::Ready(ProviderConfig { base_url: url.to_owned(), ..config(secret) })
        }
    })
}

/// With `tls` of the system's certificates, if there are any; without them, the provider's client reports the reason.
fn trusting(access: ProviderAccess, tls: Option<&Arc<ClientConfig>>) -> ProviderAccess {
    match access {
        ProviderAccess::Ready(config) => {
            ProviderAccess::Ready(ProviderConfig { tls: tls.cloned(), ..config })
        }
        no_key @ ProviderAccess::NoKey { .. } => no_key,
    }
}

/// Where to read records of `service`: the storage that this process has opened, else the service's URL.
fn source(
    configuration: &Configuration,
    storages: &Opened,
    observer: &Observer,
    service: Service,
) -> Result<Arc<dyn RecordSource>, Failure> {
    if let Some(storage) = storages.current(service) {
        return Ok(Arc::new(StoredRecords::new(storage.clone(), observer.clone())));
    }
    let upstream = upstream(configuration, service).map_err(Failure::usage)?;
    Ok(Arc::new(RemoteService {
        upstream: upstream.expect("a storage without a URL was opened"),
        key: configuration.text(&API_KEY)?.map(SecretString::from),
        client: http_client()?,
    }))
}
