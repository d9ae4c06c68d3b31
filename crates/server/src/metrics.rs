//! Prometheus metrics.

mod maintenance;
mod servers;

use std::{fmt, sync::Arc, time::Duration};

use judge::engine::{Observation, Observer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

pub use self::maintenance::{MaintenanceMetrics, ObservedTable};
use self::servers::Servers;
use serde::Serialize;
use store::postgres::Database;

use crate::{config::UpkeepConfig, searches::SearchProbe, supervisor::Supervisor};

/// Buckets from a lookup by id to a large batch on a busy machine.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// All connections.
    pub size: u32,
    /// Idle connections.
    pub idle: u32,
}

/// Reads the current state of a connection pool.
#[derive(Clone)]
pub struct PoolProbe(Arc<dyn Fn() -> PoolState + Send + Sync>);

impl PoolProbe {
    /// Reads the state by calling `state`.
    pub fn new(state: impl Fn() -> PoolState + Send + Sync + 'static) -> Self {
        Self(Arc::new(state))
    }
}

impl fmt::Debug for PoolProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PoolProbe").field(&(self.0)()).finish()
    }
}

/// Sources of metrics that the process does not count itself.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// The database connections, if there is a database.
    pub pool: Option<PoolProbe>,
    /// Vector searches, if they are monitored.
    pub searches: Option<SearchProbe>,
    /// The background tasks.
    pub supervisor: Supervisor,
    /// The history of searches that the console shows, if there is a database.
    pub database: Option<Database>,
    /// The database, if replicas answer its reads.
    pub replicated: Option<Database>,
    /// The settings that the console shows.
    pub settings: Vec<ShownSetting>,
    /// What each page of the console says of the data.
    pub notice: Option<&'static str>,
    /// How tables are maintained, if there is a database.
    pub upkeep: Option<UpkeepConfig>,
}

/// A setting in force.
#[derive(Clone, Debug, Serialize)]
pub struct ShownSetting {
    /// Its name.
    pub name: &'static str,
    /// Its value, masked if it is secret; `None` if it has none.
    pub value: Option<String>,
    /// Where the value is from.
    pub origin: Option<String>,
}

/// The metrics of a process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Histogram>,
    in_flight: Gauge,
    observed: Observed,
    pub(crate) maintenance: MaintenanceMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StorageLabels {
    service: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

/// Operations of storages and of the embedding model. Clones share the counters.
#[derive(Clone, Debug)]
struct Observed {
    storage: Family<StorageLabels, Histogram>,
    embedding: Histogram,
    embedded_texts: Counter,
}

impl Observed {
    fn add(&self, observation: Observation) {
        match observation {
            Observation::Storage { service, operation, has_failed, took } => {
                let outcome = if has_failed { "failed" } else { "done" };
                let labels = StorageLabels { service: service.as_str(), operation, outcome };
                self.storage.get_or_create(&labels).observe(took.as_secs_f64());
            }
            Observation::Embedding { texts, took } => {
                self.embedding.observe(took.as_secs_f64());
                self.embedded_texts.inc_by(u64::try_from(texts).expect("a number of texts fits"));
            }
        }
    }
}

/// Counts a request as in progress until dropped.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn new(probes: &Probes) -> Self {
        let mut registry = Registry::with_prefix("panopticon");
        let requests: Family<RequestLabels, Histogram> = histograms_of();
        let storage: Family<StorageLabels, Histogram> = histograms_of();
        let (in_flight, embedding, embedded_texts) =
            (Gauge::default(), Histogram::new(SECONDS), Counter::default());
        registry.register_with_unit(
            "http_request_duration",
            "Duration of requests until the response began",
            Unit::Seconds,
            requests.clone(),
        );
        registry.register("http_requests_in_flight", "Requests in progress", in_flight.clone());
        registry.register_with_unit(
            "storage_duration",
            "Duration of storage operations",
            Unit::Seconds,
            storage.clone(),
        );
        registry.register_with_unit(
            "embedding_duration",
            "Duration of embedding the texts of a request, including the wait in the queue",
            Unit::Seconds,
            embedding.clone(),
        );
        registry.register("embedded_texts", "Embedded texts", embedded_texts.clone());
        if let Some(pool) = &probes.pool {
            registry.register_collector(Box::new(pool.clone()));
        }
        if let Some(searches) = &probes.searches {
            registry.register_collector(Box::new(searches.clone()));
        }
        if let Some(database) = &probes.replicated {
            registry.register_collector(Box::new(Servers(database.clone())));
        }
        registry.register_collector(Box::new(probes.supervisor.clone()));
        let maintenance = MaintenanceMetrics::registered(&mut registry);
        let observed = Observed { storage, embedding, embedded_texts };
        Self { registry, requests, in_flight, observed, maintenance }
    }

    /// Counts a request as in progress until the value is dropped.
    pub(crate) fn request_begins(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Records an answered request.
    pub(crate) fn request_ended(
        &self,
        route: &str,
        method: &axum::http::Method,
        status: u16,
        took: Duration,
    ) {
        let labels = RequestLabels { route: route.to_owned(), method: method_label(method), status };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// An observer that feeds these metrics.
    pub(crate) fn observer(&self) -> Observer {
        let observed = self.observed.clone();
        Observer::new(move |observation| observed.add(observation))
    }

    /// The OpenMetrics text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory does not fail");
        text
    }
}

/// Duration histograms, one per `L`.
fn histograms_of<L: Clone + std::hash::Hash + Eq>() -> Family<L, Histogram> {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

/// Clients may send any method; labels must be few.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

impl Collector for PoolProbe {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let PoolState { size, idle } = (self.0)();
        for (name, help, value) in [
            ("database_connections", "Database connections", size),
            ("database_connections_idle", "Idle database connections", idle),
        ] {
            let gauge = ConstGauge::new(i64::from(value));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
