//! Watching runs: one query to the database per interval serves all watchers of a run.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use records::{Service, error_chain, lock::Mutex};
use store::storage::StorageError;
use tokio::time::Instant;
use uuid::Uuid;

use super::{RunProgress, Runs, no_run};
use crate::engine::RunError;

/// The watched runs.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchedRuns {
    /// Shared by all watchers; locked for one step.
    runs: Arc<Mutex<HashMap<Uuid, Weak<RunWatch>>>>,
}

/// A watched run, shared by its watchers.
#[derive(Debug)]
pub struct RunWatch {
    id: Uuid,
    /// The latest snapshot and its time. Locked during the query, so that all others wait for its result.
    seen: tokio::sync::Mutex<Option<(Instant, Snapshot)>>,
}

/// A snapshot of a run, shared by its watchers.
#[derive(Debug)]
pub struct RunSnapshot {
    /// Its progress.
    pub progress: RunProgress,
    written: OnceLock<Arc<[u8]>>,
}

#[derive(Clone, Debug)]
enum Snapshot {
    Run(Arc<RunSnapshot>),
    Gone,
    Unknown,
}

impl RunSnapshot {
    /// The run as serialized by `write`, once for all watchers.
    pub fn written(&self, write: impl FnOnce(&RunProgress) -> Vec<u8>) -> Arc<[u8]> {
        Arc::clone(self.written.get_or_init(|| write(&self.progress).into()))
    }
}

impl Runs {
    /// The run `id`, for a new watcher.
    pub fn watch(&self, id: Uuid) -> Arc<RunWatch> {
        let mut runs = self.watched.runs.lock();
        if let Some(watch) = runs.get(&id).and_then(Weak::upgrade) {
            return watch;
        }
        runs.retain(|_, watch| watch.strong_count() > 0);
        let watch = Arc::new(RunWatch { id, seen: tokio::sync::Mutex::default() });
        runs.insert(id, Arc::downgrade(&watch));
        watch
    }

    /// The progress of the run, at most `age` old.
    ///
    /// # Errors
    /// When the run no longer exists, or PostgreSQL fails.
    pub async fn progress_lately(
        &self,
        watch: &RunWatch,
        age: Duration,
    ) -> Result<Arc<RunSnapshot>, RunError> {
        let mut seen = watch.seen.lock().await;
        let fresh = seen.as_ref().filter(|(at, _)| at.elapsed() < age).map(|(_, seen)| seen.clone());
        let now = match fresh {
            Some(fresh) => fresh,
            None => {
                let now = match self.progress(watch.id).await {
                    Ok(progress) => {
                        Snapshot::Run(Arc::new(RunSnapshot { progress, written: OnceLock::new() }))
                    }
                    Err(RunError::NotFound { .. }) => Snapshot::Gone,
                    Err(error) => {
                        tracing::warn!(run = %watch.id, error = %error_chain(&error), "failed to read the progress of a run");
                        *seen = Some((Instant::now(), Snapshot::Unknown));
                        return Err(error);
                    }
                };
                *seen = Some((Instant::now(), now.clone()));
                now
            }
        };
        match now {
            Snapshot::Run(seen) => Ok(seen),
            Snapshot::Gone => Err(no_run(watch.id)),
            Snapshot::Unknown => Err(StorageError::Unavailable {
                service: Service::Judge,
                source: "a recent query failed".into(),
            }
            .into()),
        }
    }
}
