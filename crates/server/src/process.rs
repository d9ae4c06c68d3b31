//! What everything that a process serves has in common.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use records::Service;
use store::storage::StorageError;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::{
    config::ServerConfig,
    metrics::{MaintenanceMetrics, Metrics, Outcome, Probes},
    searches::SearchProbe,
};

/// Limits, doors and metrics of a process.
#[derive(Debug)]
pub struct Process {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    pub(crate) searches: Option<SearchProbe>,
    /// A permit for each request that may be worked on.
    pub(crate) room: Arc<Semaphore>,
    is_stopping: AtomicBool,
}

impl Process {
    /// A process that serves as `config` says, and asks `probes` for what it does not see itself.
    pub fn new(config: ServerConfig, probes: Probes) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(config.max_requests));
        let metrics = Metrics::new(&probes);
        Arc::new(Self {
            config,
            metrics,
            searches: probes.searches,
            room,
            is_stopping: AtomicBool::new(false),
        })
    }

    /// From now on `/ready` says that the process is not, so that no new clients are sent.
    pub fn begin_stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// What maintenance tells of itself, for `/metrics`.
    pub fn maintenance_metrics(&self) -> MaintenanceMetrics {
        self.metrics.maintenance.clone()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Runs an `operation` of the storage of `service`.
    pub(crate) async fn measured<T>(
        &self,
        service: Service,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let began = Instant::now();
        let span = tracing::info_span!("storage", storage.service = %service, storage.operation = operation);
        let result = work.instrument(span).await;
        let outcome = match &result {
            // A refusal is an answer.
            Ok(_) | Err(StorageError::Refused { .. } | StorageError::Unsupported { .. }) => Outcome::Done,
            Err(StorageError::Unavailable { .. } | StorageError::Failed { .. }) => Outcome::Failed,
        };
        self.metrics.storage_ended(service, operation, outcome, began);
        result
    }
}
