//! The state that all services of a process share.

use std::{sync::Arc, time::Duration};

use judge::{engine::Observer, runs::Shutdown};
use records::Service;
use store::{postgres::Database, storage::StorageError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    answer::ApiError,
    config::{ServerConfig, UpkeepConfig},
    jobs::Jobs,
    large_workers::LargeWorkers,
    metrics::{MaintenanceMetrics, Metrics, Probes, ShownSetting},
    permit::Permit,
    readers::{RELEASED_WITHIN, Readers, Reading},
    request::BodyMemory,
    searches::SearchProbe,
    session::Sessions,
    supervisor::Supervisor,
};

/// Maximum concurrent exports. Each uses some megabytes while its client reads.
const MAX_EXPORTS: usize = 16;

/// Counts as a request and as an export until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct ExportPlace {
    _held: Arc<(Permit, OwnedSemaphorePermit, Reading)>,
}

/// Limits, access control and metrics of a process.
#[derive(Debug)]
pub struct Process {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    observer: Observer,
    pub(crate) searches: Option<SearchProbe>,
    pub(crate) database: Option<Database>,
    /// The database, if replicas answer its reads.
    pub(crate) replicated: Option<Database>,
    pub(crate) settings: Vec<ShownSetting>,
    /// What each page of the console says of the data.
    pub(crate) notice: Option<&'static str>,
    /// How tables are maintained, if there is a database.
    pub(crate) upkeep: Option<UpkeepConfig>,
    /// What the console has started.
    pub(crate) jobs: Jobs,
    /// Those who use the console.
    pub(crate) sessions: Sessions,
    /// A permit per concurrent request.
    pub(crate) permits: Arc<Semaphore>,
    /// A permit per event stream.
    streams: Arc<Semaphore>,
    /// The background tasks.
    pub(crate) supervisor: Supervisor,
    stopping: Shutdown,
    /// A permit per concurrent export.
    exports: Arc<Semaphore>,
    /// The clients of the exports.
    export_readers: Readers,
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
        let bodies = BodyMemory::new(
            (config.max_body_bytes, config.max_chroma_body_bytes),
            config.request_timeout / 2,
            config.memory,
        );
        Arc::new(Self {
            sessions: Sessions::new(config.api_key.as_ref()),
            config,
            observer: metrics.observer(),
            metrics,
            searches: probes.searches,
            database: probes.database,
            replicated: probes.replicated,
            settings: probes.settings,
            notice: probes.notice,
            upkeep: probes.upkeep,
            jobs: Jobs::new(),
            permits,
            streams,
            supervisor: probes.supervisor,
            stopping: Shutdown::default(),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            export_readers: Readers::default(),
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

    /// A place for the export of the request that holds `permit`; or, when all are taken, that of a client that has stopped
    /// reading.
    ///
    /// # Errors
    /// When the limit is reached.
    pub(crate) async fn begin_export(&self, permit: Permit) -> Result<ExportPlace, ApiError> {
        let held = match Arc::clone(&self.exports).try_acquire_owned() {
            Ok(held) => held,
            Err(_) => {
                let released = Arc::clone(&self.exports).acquire_owned();
                let is_one_released = self.export_readers.disconnect_stalled();
                let wait = if is_one_released { RELEASED_WITHIN } else { Duration::ZERO };
                let waited = tokio::time::timeout(wait, released).await;
                let held = waited.map_err(|_| ApiError::Busy { limit: MAX_EXPORTS })?;
                held.expect("the semaphore is never closed")
            }
        };
        let reading = self.export_readers.begin(permit.connection());
        Ok(ExportPlace { _held: Arc::new((permit, held, reading)) })
    }

    /// Carries out the jobs that the console starts, one after the other, until `shutdown`.
    pub async fn carry_out_jobs(&self, shutdown: &Shutdown) {
        self.jobs.carry_out(shutdown).await;
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
