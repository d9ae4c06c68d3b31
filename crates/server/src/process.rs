//! What everything that a process serves has in common.

use std::sync::Arc;

use judge::{engine::Observer, runs::Shutdown};
use records::Service;
use store::storage::StorageError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    answer::ApiError,
    apart::Apart,
    config::ServerConfig,
    metrics::{MaintenanceMetrics, Metrics, Probes},
    permit::Permit,
    request::BodyRoom,
    searches::SearchProbe,
    supervisor::Supervisor,
};

/// Exports at once. Each holds some megabytes as long as its client reads.
const MAX_EXPORTS: usize = 16;

/// Limits, doors and metrics of a process.
#[derive(Debug)]
pub struct Process {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    observer: Observer,
    pub(crate) searches: Option<SearchProbe>,
    /// A permit for each request that may be worked on.
    pub(crate) room: Arc<Semaphore>,
    /// A permit for each stream of events.
    streams: Arc<Semaphore>,
    /// What runs beside requests.
    pub(crate) supervisor: Supervisor,
    stopping: Shutdown,
    /// A permit for each export that is under way.
    pub(crate) exports: Arc<Semaphore>,
    /// Memory for the bodies of requests.
    pub(crate) bodies: BodyRoom,
    /// Where large ones are worked on.
    pub(crate) apart: Arc<Apart>,
}

impl Process {
    /// A process that serves as `config` says, and asks `probes` for what it does not see itself.
    ///
    /// # Panics
    /// Outside of a tokio runtime, and where the system refuses a thread.
    pub fn new(config: ServerConfig, probes: Probes) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(config.max_requests));
        let streams = Arc::new(Semaphore::new(config.max_streams));
        let metrics = Metrics::new(&probes);
        let bodies = BodyRoom::new(config.max_body_bytes, config.request_timeout / 2);
        Arc::new(Self {
            config,
            observer: metrics.observer(),
            metrics,
            searches: probes.searches,
            room,
            streams,
            supervisor: probes.supervisor,
            stopping: Shutdown::default(),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            bodies,
            apart: Apart::start(),
        })
    }

    /// From now on `/ready` says that the process is not, so that no new clients are sent; streams of events end.
    pub fn begin_stopping(&self) {
        self.stopping.begin();
    }

    /// Counts what storages and the embedding model do, for `/metrics`.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// What maintenance tells of itself, for `/metrics`.
    pub fn maintenance_metrics(&self) -> MaintenanceMetrics {
        self.metrics.maintenance.clone()
    }

    /// Room for an export, until the last clone is dropped.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub(crate) fn begin_export(&self) -> Result<Permit, ApiError> {
        let permit = Arc::clone(&self.exports).try_acquire_owned();
        permit.map(Permit::new).map_err(|_| ApiError::Busy { limit: MAX_EXPORTS })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.has_begun()
    }

    /// Counts a stream of events until the permit is dropped.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub(crate) fn stream_begins(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| ApiError::Busy { limit: self.config.max_streams })
    }

    /// Returns when the process begins to stop.
    pub(crate) async fn stopping(&self) {
        self.stopping.begun().await;
    }

    /// Runs an `operation` of the storage of `service`.
    pub(crate) async fn measured<T>(
        &self,
        service: Service,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        self.observer.storage(service, operation, work).await
    }
}
