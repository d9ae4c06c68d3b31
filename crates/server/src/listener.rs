//! An address, and the router behind it.

use std::{future::IntoFuture as _, io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::watch};

/// A port that is bound and not served yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why an address is not served.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// It cannot be bound.
    #[error("failed to listen on {address}: choose an address of this machine and a port that is free")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The system stopped taking connections.
    #[error("failed to serve {address}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Requests were still being worked on when the time was up.
    #[error("{address} was closed while requests were being worked on, after {} s", limit.as_secs_f64())]
    CutOff {
        /// The address.
        address: SocketAddr,
        /// How long they had.
        limit: Duration,
    },
}

/// Tells listeners to stop: they take no new connections then, and finish the requests that they have.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Stops all listeners that serve until this.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Returns when it has begun.
    pub async fn begun(&self) {
        // The sender lives in `self`.
        self.0.subscribe().wait_for(|begun| *begun).await.expect("the sender lives");
    }
}

impl Listener {
    /// Binds `address`; port 0 is any that is free.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let listener =
            TcpListener::bind(address).await.map_err(|source| ListenerError::Bind { address, source })?;
        let address = listener.local_addr().map_err(|source| ListenerError::Bind { address, source })?;
        Ok(Self { listener, address })
    }

    /// What is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `shutdown`, and then until the requests that were accepted are answered, but no longer
    /// than `grace`.
    ///
    /// # Errors
    /// When the system stops taking connections, or the time is up before all requests are answered.
    pub async fn serve(
        self,
        router: Router,
        shutdown: Shutdown,
        grace: Duration,
    ) -> Result<(), ListenerError> {
        let Self { listener, address } = self;
        let stop = shutdown.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.begun().await });
        let out_of_time = async {
            shutdown.begun().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            served = serving.into_future() => served.map_err(|source| ListenerError::Serve { address, source }),
            () = out_of_time => Err(ListenerError::CutOff { address, limit: grace }),
        }
    }
}
