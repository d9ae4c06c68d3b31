//! Whom the judge asks: models at their providers, and queries and metrics where they are.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::Context as _;
use embed::Embedder;
use judge::{
    engine::{JudgeConfig, Judging, Observer, Patience, ProviderAccess, RecordSource, StoredRecords},
    provider::{ProviderConfig, limits::Backoff},
};
use records::Service;
use rustls::ClientConfig;
use secrecy::SecretString;
use server::RemoteService;

use super::{http_client, settings::upstream, storages::Opened};
use crate::{configuration::Configuration, exit::Failure, telemetry::tls_of_certificates};

/// Clients wait for evaluations: a call is given up within some 15 s, rather than within the minutes that nobody would
/// wait for.
const BACKOFF: Backoff = Backoff {
    max_retries: 4,
    first: Duration::from_millis(500),
    longest: Duration::from_secs(8),
    longest_asked: Duration::from_secs(20),
};

/// Nobody waits for a run, and a provider's limits are often a minute's: a call is given up after some ten minutes.
const RUN_BACKOFF: Backoff = Backoff {
    max_retries: 10,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(90),
    longest_asked: Duration::from_secs(300),
};

/// As many as hosted providers take from small customers; a model that wants fewer says so, and gets fewer.
pub(super) const DEFAULT_CALLS_AT_ONCE: NonZeroU32 = NonZeroU32::new(32).expect("it is not zero");

pub(super) const DEFAULT_TEMPERATURE: f64 = 0.7;

pub(super) type Provider = fn(Option<SecretString>) -> ProviderConfig;
/// Each provider with its settings for key and base URL.
pub(super) const PROVIDERS: [(Provider, &str, &str); 3] = [
    (ProviderConfig::openai, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    (ProviderConfig::anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    (ProviderConfig::google, "GOOGLE_API_KEY", "GOOGLE_BASE_URL"),
];

/// The judge that works with `storages`, which hold its results.
pub(super) fn judging(
    configuration: &Configuration,
    storages: &Opened,
    embedder: &Arc<Embedder>,
    observer: &Observer,
) -> Result<Option<Judging>, Failure> {
    let Some(database) = storages.results() else { return Ok(None) };
    let outputs = storages.of(&[Service::Judge]).into_iter().next().expect("the judge has a storage");
    let temperature = configuration
        .parsed("MODEL_DEFAULT_TEMPERATURE", "a number from 0 to 2", |text| {
            text.parse().ok().filter(|number| (0.0..=2.0).contains(number))
        })
        .map_err(Failure::usage)?;
    let calls_at_once = configuration
        .parsed("MODEL_MAX_CONCURRENCY", "a whole number above 0", |text| text.parse().ok())
        .map_err(Failure::usage)?;
    let tls = tls_of_certificates()?.map(Arc::new);
    let config = JudgeConfig {
        queries: source(configuration, storages, observer, Service::Query)?,
        metrics: source(configuration, storages, observer, Service::Evaluation)?,
        outputs,
        embedder: Arc::clone(embedder),
        providers: PROVIDERS
            .map(|(config, key, base_url)| provider(configuration, config, key, base_url))
            .map(|access| trusting(access, tls.as_ref()))
            .into(),
        temperature: temperature.unwrap_or(DEFAULT_TEMPERATURE),
        patience: Patience {
            calls_at_once: calls_at_once.unwrap_or(DEFAULT_CALLS_AT_ONCE),
            backoff: BACKOFF,
            run_backoff: RUN_BACKOFF,
        },
        observer: observer.clone(),
    };
    let judging = Judging::new(database.clone(), config);
    judging.context("a model's provider is set up wrongly").map(Some).map_err(Failure::usage)
}

/// A server of one's own needs no key, a provider's own does.
fn provider(
    configuration: &Configuration,
    config: Provider,
    key: &'static str,
    base_url: &str,
) -> ProviderAccess {
    let secret = configuration.text(key).map(SecretString::from);
    match (secret, configuration.text(base_url)) {
        (None, None) => ProviderAccess::NoKey { provider: config(None).name, setting: key },
        (secret, None) => ProviderAccess::Ready(config(secret)),
        (secret, Some(url)) => {
            ProviderAccess::Ready(ProviderConfig { base_url: url.to_owned(), ..config(secret) })
        }
    }
}

/// With `tls` of the system's certificates, if there are any: what the provider's client says otherwise is the reason.
fn trusting(access: ProviderAccess, tls: Option<&Arc<ClientConfig>>) -> ProviderAccess {
    match access {
        ProviderAccess::Ready(config) => {
            ProviderAccess::Ready(ProviderConfig { tls: tls.cloned(), ..config })
        }
        no_key @ ProviderAccess::NoKey { .. } => no_key,
    }
}

/// Where records of `service` are: in the storage that this process has opened, else at the service's URL.
fn source(
    configuration: &Configuration,
    storages: &Opened,
    observer: &Observer,
    service: Service,
) -> Result<Arc<dyn RecordSource>, Failure> {
    if let Some(storage) = storages.of(&[service]).into_iter().next() {
        return Ok(Arc::new(StoredRecords::new(storage, observer.clone())));
    }
    let upstream = upstream(configuration, service).map_err(Failure::usage)?;
    Ok(Arc::new(RemoteService {
        upstream: upstream.expect("a storage without a URL was opened"),
        key: configuration.text("API_KEY").map(SecretString::from),
        client: http_client()?,
    }))
}
