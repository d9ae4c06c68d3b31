//! Those who watch a run look at it together: however many they are, the database is asked once each time.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use records::{Service, error_chain, lock::Mutex};
use store::storage::StorageError;
use tokio::time::Instant;
use uuid::Uuid;

use super::{RunProgress, Runs, no_run};
use crate::engine::RunError;

/// The runs that are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchedRuns {
    /// Shared by all watchers, and locked for one step.
    runs: Arc<Mutex<HashMap<Uuid, Weak<RunWatch>>>>,
}

/// A run that is watched, by all who hold this.
#[derive(Debug)]
pub struct RunWatch {
    id: Uuid,
    /// What was seen last, and when. Locked while the database is asked, so that all others wait for that answer.
    seen: tokio::sync::Mutex<Option<(Instant, Seen)>>,
}

#[derive(Clone, Debug)]
enum Seen {
    Run(Box<RunProgress>),
    Gone,
    Unknown,
}

impl Runs {
    /// The run `id` for one more who watches it.
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

    /// How far the run is, as it was seen not longer than `age` ago.
    ///
    /// # Errors
    /// When there is no such run any more, or PostgreSQL fails.
    pub async fn progress_lately(&self, watch: &RunWatch, age: Duration) -> Result<RunProgress, RunError> {
        let mut seen = watch.seen.lock().await;
        let fresh = seen.as_ref().filter(|(at, _)| at.elapsed() < age).map(|(_, seen)| seen.clone());
        let now = match fresh {
            Some(fresh) => fresh,
            None => {
                let now = match self.progress(watch.id).await {
                    Ok(progress) => Seen::Run(Box::new(progress)),
                    Err(RunError::NotFound { .. }) => Seen::Gone,
                    Err(error) => {
                        tracing::warn!(run = %watch.id, error = %error_chain(&error), "a run's progress is not known");
                        *seen = Some((Instant::now(), Seen::Unknown));
                        return Err(error);
                    }
                };
                *seen = Some((Instant::now(), now.clone()));
                now
            }
        };
        match now {
            Seen::Run(progress) => Ok(*progress),
            Seen::Gone => Err(no_run(watch.id)),
            Seen::Unknown => Err(StorageError::Unavailable {
                service: Service::Judge,
                source: "it did not answer a moment ago".into(),
            }
            .into()),
        }
    }
}
