//! The embedded server under services that run for long: should it die, it is started again.

use std::time::Duration;

use provision::Server;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{connection::blocking, exit::Failure, progress::setup_line};

/// Between two looks at the server. Requests fail meanwhile.
const WATCH: Duration = Duration::from_secs(1);

/// A server that is watched by a task.
pub(super) struct Watched {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Server>,
}

impl Watched {
    /// Watches `server` from now on.
    pub(super) fn begin(server: Server) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(watch(server, stopped)) }
    }

    /// Lets go of the server.
    pub(super) async fn release(self) -> Result<(), Failure> {
        // A task that has ended by itself has panicked, which the next line tells.
        let _ = self.stop.send(());
        let server = self.task.await.map_err(anyhow::Error::from)?;
        blocking(move || server.release()).await
    }
}

async fn watch(mut server: Server, mut stopped: oneshot::Receiver<()>) -> Server {
    loop {
        tokio::select! {
            _ = &mut stopped => return server,
            () = tokio::time::sleep(WATCH) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let revived = server.revive(&setup_line);
            (server, revived)
        });
        let revived;
        (server, revived) = looked.await.expect("reviving the server does not panic");
        match revived {
            Ok(false) => {}
            Ok(true) => tracing::warn!("the embedded PostgreSQL had died and was started again"),
            Err(error) => {
                let error = Failure::from(error).message();
                tracing::error!(error, "the embedded PostgreSQL has died and does not start");
            }
        }
    }
}
