//! A listening address and its router.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, serve::Listener as Accept};
use futures_util::FutureExt as _;
use hyper::{
    Request,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use judge::runs::Shutdown;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    connections::{ConnectionUse, Connections, guarded},
    minimum_rate::MinimumRateStream,
};

/// Maximum bytes of a request's head: each connection may occupy as many, with or without the key.
const HEAD_BYTES: usize = 128 << 10;

/// A bound address that is not served yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why an address could not be served to the end.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address cannot be bound.
    #[error("failed to listen on {address}: choose an address of this machine and a port that is free")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Requests were still in progress when the shutdown time-out expired.
    #[error("{address} was closed after {} s while requests were in progress", limit.as_secs_f64())]
    CutOff {
        /// The address.
        address: SocketAddr,
        /// The time-out.
        limit: Duration,
    },
}

/// Limits of the connections of an address.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Maximum concurrent connections. A further one waits for another to be idle for a second, or to be answered, which
    /// is then closed. With fewer than clients keep open, they must reconnect often; with more than the system has file
    /// descriptors for, nothing else can be opened.
    pub connections: usize,
    /// Time limit for the head of a request, from the start of the connection or the end of the last response. If too
    /// short, clients lose connections that they keep for reuse; if too long, silent clients occupy connections.
    pub head: Duration,
    /// How long a client may read a response below the minimum rate. If too short, slow clients are cut off; if too
    /// long, clients that barely read keep responses in memory.
    pub write: Duration,
    /// Time after shutdown to answer accepted requests. If too short, they are cut off; a time longer than the
    /// service manager waits has no effect.
    pub grace: Duration,
}

impl Listener {
    /// Binds `address`; port 0 selects a free port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let listener =
            TcpListener::bind(address).await.map_err(|source| ListenerError::Bind { address, source })?;
        let address = listener.local_addr().map_err(|source| ListenerError::Bind { address, source })?;
        Ok(Self { listener, address })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `shutdown`, and then until the accepted requests are answered, within `limits`.
    ///
    /// # Errors
    /// When the time-out expires before all requests are answered.
    pub async fn serve(
        self,
        router: Router,
        shutdown: Shutdown,
        limits: ConnectionLimits,
    ) -> Result<(), ListenerError> {
        let Self { mut listener, address } = self;
        // Dropping this future aborts the connections.
        let mut connections = Connections::new(limits.connections);
        loop {
            let stream = tokio::select! {
                // When the system has no more file descriptors, this waits and retries.
                (stream, _) = Accept::accept(&mut listener) => stream,
                () = connections.ended() => continue,
                () = shutdown.begun() => break,
            };
            // Further clients wait in the system's queue.
            tokio::select! {
                () = connections.room() => {}
                () = shutdown.begun() => break,
            }
            let (router, shutdown) = (router.clone(), shutdown.clone());
            connections.spawn(|used| serve_connection(stream, router, shutdown, (limits, used)));
        }
        drop(listener);
        tokio::time::timeout(limits.grace, connections.all_ended())
            .await
            .map_err(|_| ListenerError::CutOff { address, limit: limits.grace })
    }
}

/// Serves a connection until the client closes it, a time limit expires, or, after `shutdown`, its response is sent.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    shutdown: Shutdown,
    (limits, used): (ConnectionLimits, ConnectionUse),
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES);
    let routed = TowerToHyperService::new(router);
    let this = used.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (used, busy) = (used.clone(), used.busy());
        request.extensions_mut().insert(used.clone());
        let response = routed.call(request);
        async move {
            let mut response = response.await?.map(|body| guarded(body, busy));
            if used.gives_way() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(MinimumRateStream::new(stream, limits.write, this.clone()));
    let mut connection = pin!(protocol.serve_connection(stream, service));
    let mut is_last = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = shutdown.begun(), if !is_last => {
                connection.as_mut().graceful_shutdown();
                is_last = true;
            }
            () = this.closed() => {
                tracing::info!("closed a connection whose client read nothing while others waited for its place");
                return;
            }
            () = this.retiring() => {
                // Lets the runtime look for data, and the connection read it: a request that has arrived is answered.
                tokio::task::yield_now().await;
                if let Some(ended) = connection.as_mut().now_or_never() {
                    break ended;
                }
                if this.retires() {
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        // Caused by the client: it disconnected or sent invalid HTTP.
        tracing::debug!(error = %error, "a connection ended early");
    }
}
