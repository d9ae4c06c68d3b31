//! The state that all services of a process share.

use std::sync::Arc;

use judge::{engine::Observer, runs::Shutdown};
use records::Service;
use store::storage::StorageError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    answer::ApiError,
    config::ServerConfig,
    large_workers::LargeWorkers,
    metrics::{MaintenanceMetrics, Metrics, Probes},
    permit::Permit,
    request::BodyMemory,
    searches::SearchProbe,
    supervisor::Supervisor,
};

/// Maximum concurrent exports. Each uses some megabytes while its client reads.
const MAX_EXPORTS: usize = 16;

/// Limits, access control and metrics of a process.
#[derive(Debug)]
pub struct Process {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    observer: Observer,
    pub(crate) searches: Option<SearchProbe>,
    /// A permit per concurrent request.
    pub(crate) permits: Arc<Semaphore>,
    /// A permit per event stream.
    streams: Arc<Semaphore>,
    /// The background tasks.
    pub(crate) supervisor: Supervisor,
    stopping: Shutdown,
    /// A permit per concurrent export.
    pub(crate) exports: Arc<Semaphore>,
    /// Memory for the bodies of requests.
    pub(crate) bodies: BodyMemory,
    /// The threads for large requests.
    pub(crate) large_workers: Arc<LargeWorkers>,
}

impl Process {
    /// A process with this configuration, which reads metrics that it does not count itself from `probes`.
    ///
    /// # Panics
    /// Outside a tokio runtime, or when the system starts no thread.
    pub fn new(config: ServerConfig, probes: Probes) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(config.max_requests));
        let streams = Arc::new(Semaphore::new(config.max_streams));
        let metrics = Metrics::new(&probes);
        let bodies = BodyMemory::new(config.max_body_bytes, config.request_timeout / 2, config.memory);
        Arc::new(Self {
            config,
            observer: metrics.observer(),
            metrics,
            searches: probes.searches,
            permits,
            streams,
            supervisor: probes.supervisor,
            stopping: Shutdown::default(),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            bodies,
            large_workers: LargeWorkers::start(),
        })
    }

    /// From now on, `/ready` reports not ready, so that load balancers send no new clients, and event streams end.
    pub fn begin_stopping(&self) {
        self.stopping.begin();
    }

    /// Observes storages and the embedding model for `/metrics`.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The maintenance metrics of `/metrics`.
    pub fn maintenance_metrics(&self) -> MaintenanceMetrics {
        self.metrics.maintenance.clone()
    }

    /// A permit for an export.
    ///
    /// # Errors
    /// When the limit is reached.
    pub(crate) fn begin_export(&self) -> Result<Permit, ApiError> {
        let permit = Arc::clone(&self.exports).try_acquire_owned();
        permit.map(Permit::new).map_err(|_| ApiError::Busy { limit: MAX_EXPORTS })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.has_begun()
    }

    /// A permit for an event stream.
    ///
    /// # Errors
    /// When the limit is reached.
    pub(crate) fn stream_begins(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| ApiError::Busy { limit: self.config.max_streams })
    }

    /// Returns when the process begins to stop.
    pub(crate) async fn stopping(&self) {
        self.stopping.begun().await;
    }

    /// Runs an `operation` of the storage of `service` and records its duration.
    pub(crate) async fn measured<T>(
        &self,
        service: Service,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        self.observer.storage(service, operation, work).await
    }
}
