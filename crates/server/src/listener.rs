//! An address, and the router behind it.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, serve::Listener as Accept};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

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
    /// Requests were still being worked on when the time was up.
    #[error("{address} was closed while requests were being worked on, after {} s", limit.as_secs_f64())]
    CutOff {
        /// The address.
        address: SocketAddr,
        /// How long they had.
        limit: Duration,
    },
}

/// How long connections may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimes {
    /// Until the head of a request is there, from the connection's or the last answer's end on. Too short, and clients
    /// lose connections that they keep for later; too long, and those that send nothing hold as many as the system
    /// gives us.
    pub head: Duration,
    /// From the shutdown on, until the requests that were accepted are answered. Too short, and they are cut off; of
    /// longer than whoever stops us waits nothing comes.
    pub grace: Duration,
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

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
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

    /// Serves `router` until `shutdown`, and then until the requests that were accepted are answered, as long as
    /// `times` allow.
    ///
    /// # Errors
    /// When the time is up before all requests are answered.
    pub async fn serve(
        self,
        router: Router,
        shutdown: Shutdown,
        times: ConnectionTimes,
    ) -> Result<(), ListenerError> {
        let Self { mut listener, address } = self;
        // Dropped with this future, which ends them.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                (stream, _) = Accept::accept(&mut listener) => {
                    connections.spawn(serve_connection(stream, router.clone(), shutdown.clone(), times.head));
                }
                Some(_) = connections.join_next() => {}
                () = shutdown.begun() => break,
            }
        }
        drop(listener);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        tokio::time::timeout(times.grace, all_ended)
            .await
            .map_err(|_| ListenerError::CutOff { address, limit: times.grace })
    }
}

/// Serves a connection until its client closes it, is silent for too long, or has the answer after `shutdown`.
async fn serve_connection(stream: TcpStream, router: Router, shutdown: Shutdown, head: Duration) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(head);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The client's doing: it went away, or sent what is no HTTP.
        tracing::debug!(error = %error, "a connection ended early");
    }
}
