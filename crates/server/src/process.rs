//! What everything that a process serves has in common.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;

use crate::{
    config::ServerConfig,
    metrics::{Metrics, PoolProbe},
};

/// Limits, doors and metrics of a process.
#[derive(Debug)]
pub struct Process {
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Metrics,
    /// A permit for each request that may be worked on.
    pub(crate) room: Arc<Semaphore>,
    is_stopping: AtomicBool,
}

impl Process {
    /// A process that serves as `config` says, and asks `pool` for its metrics.
    pub fn new(config: ServerConfig, pool: Option<PoolProbe>) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(config.max_requests));
        Arc::new(Self { config, metrics: Metrics::new(pool), room, is_stopping: AtomicBool::new(false) })
    }

    /// From now on `/ready` says that the process is not, so that no new clients are sent.
    pub fn begin_stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}
