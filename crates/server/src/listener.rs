//! An address, and the router behind it.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, serve::Listener as Accept};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use judge::runs::Shutdown;
use tokio::net::{TcpListener, TcpStream};

use crate::connections::{Connections, Impatient, Use};

/// Bytes that the head of a request may have: each connection may hold as many, key or not.
const HEAD_BYTES: usize = 128 << 10;

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

/// How many connections an address has, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at once. For more, one that is idle is closed, and where none is, they wait. Fewer than clients keep
    /// open, and they have to connect anew; more than the system has file descriptors for, and nothing else can be
    /// opened.
    pub connections: usize,
    /// Until the head of a request is there, from the connection's or the last answer's end on. Too short, and clients
    /// lose connections that they keep for later; too long, and those that send nothing hold as many as the system
    /// gives us.
    pub head: Duration,
    /// How long a client may take less of an answer than is sensible. Too short, and slow ones are cut off; too long, and
    /// those that never read, or hardly, hold what they were sent.
    pub write: Duration,
    /// From the shutdown on, until the requests that were accepted are answered. Too short, and they are cut off; of
    /// longer than whoever stops us waits nothing comes.
    pub grace: Duration,
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
    /// `limits` allow.
    ///
    /// # Errors
    /// When the time is up before all requests are answered.
    pub async fn serve(
        self,
        router: Router,
        shutdown: Shutdown,
        limits: ConnectionLimits,
    ) -> Result<(), ListenerError> {
        let Self { mut listener, address } = self;
        // Dropped with this future, which ends them.
        let mut connections = Connections::new(limits.connections);
        loop {
            tokio::select! {
                // Where the system gives no more descriptors, this waits and tries again.
                (stream, _) = Accept::accept(&mut listener), if connections.has_room() => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    connections.spawn(|used| serve_connection(stream, router, shutdown, (limits, used)));
                }
                () = connections.freed() => {}
                () = shutdown.begun() => break,
            }
        }
        drop(listener);
        tokio::time::timeout(limits.grace, connections.all_ended())
            .await
            .map_err(|_| ListenerError::CutOff { address, limit: limits.grace })
    }
}

/// Serves a connection until its client closes it, is silent for too long, or has the answer after `shutdown`.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    shutdown: Shutdown,
    (limits, used): (ConnectionLimits, Use),
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES);
    let routed = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(used.clone());
        routed.call(request)
    });
    let stream = TokioIo::new(Impatient::new(stream, limits.write));
    let mut connection = pin!(protocol.serve_connection(stream, service));
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
