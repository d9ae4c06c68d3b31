//! The embedded server of long-running services: restarted if it dies.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use provision::Server;
use records::lock::Mutex;
use server::{Need, Supervisor, TaskState};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{connection::blocking, exit::Failure, progress::setup_line};

/// Interval between checks of the server. Requests fail while it is down.
const WATCH: Duration = Duration::from_secs(1);

/// A server that is watched by a task.
pub(super) struct Watched {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Server>,
}

impl Watched {
    /// Starts to watch `server`.
    pub(super) fn begin(server: Server, supervisor: &Supervisor) -> Self {
        let (stop, stopped) = oneshot::channel();
        let watching = Arc::new(Watching::default());
        let seen = Arc::clone(&watching);
        supervisor.watch("embedded PostgreSQL", Need::Service, move || seen.state());
        Self { stop, task: tokio::spawn(watch(server, stopped, watching)) }
    }

    /// Releases the server.
    pub(super) async fn release(self) -> Result<(), Failure> {
        // Sending fails only if the task has panicked, which the next line reports.
        let _ = self.stop.send(());
        let server = self.task.await.map_err(anyhow::Error::from)?;
        blocking(move || server.release()).await
    }
}

/// What the task has observed.
#[derive(Debug, Default)]
struct Watching {
    restarts: AtomicU64,
    /// Written by the task, read by health checks; locked only for one read or write.
    problem: Mutex<Option<String>>,
}

impl Watching {
    fn set(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    fn state(&self) -> TaskState {
        let problem = self.problem.lock().clone();
        TaskState { restarts: self.restarts.load(Ordering::Relaxed), problem }
    }
}

async fn watch(mut server: Server, mut stopped: oneshot::Receiver<()>, watching: Arc<Watching>) -> Server {
    loop {
        tokio::select! {
            _ = &mut stopped => return server,
            () = tokio::time::sleep(WATCH) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            // A panic is handled like an error, and the server is kept.
            let revived = catch_unwind(AssertUnwindSafe(|| server.revive(&setup_line)));
            (server, revived)
        });
        let revived;
        (server, revived) = looked.await.expect("panics were caught");
        match revived {
            Ok(Ok(false)) => watching.set(None),
            Ok(Ok(true)) => {
                watching.restarts.fetch_add(1, Ordering::Relaxed);
                watching.set(None);
                tracing::warn!("the embedded PostgreSQL had died and was restarted");
            }
            Ok(Err(error)) => {
                let error = Failure::from(error).message();
                tracing::error!(error, "the embedded PostgreSQL has died and cannot be restarted");
                watching.set(Some("it has died and cannot be restarted".to_owned()));
            }
            Err(_) => {
                tracing::error!("the check of the embedded PostgreSQL panicked");
                watching.set(Some("its check panicked".to_owned()));
            }
        }
    }
}
