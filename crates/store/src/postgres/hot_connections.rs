//! Recently used connections, which searches reuse without the pool.
//!
//! The pool pings the server whenever a connection is returned, and gives out the one that was idle longest: that
//! makes a search of one millisecond a fifth slower, on a server process with cold caches.

use std::{
    future,
    sync::{Arc, MutexGuard, Weak},
    time::{Duration, Instant},
};

use records::lock::Mutex;
use sqlx::{Connection as _, PgConnection, postgres::PgPoolOptions};

use super::{
    checkout::{Checkout, Pool},
    servers::Servers,
    shares::Permit,
};

/// A connection that was idle for longer is pinged before it is used. Under load the ping would cost each operation a
/// round trip.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// From this number of connections on, one may be reserved for searches.
const CONNECTIONS_PER_HOT_ONE: u32 = 3;

/// After this time a connection is returned to the pool, which applies its own limits, such as the maximum age.
const MAX_KEPT: Duration = Duration::from_secs(60);

/// The most recently used connections of a pool.
#[derive(Debug)]
pub(super) struct HotConnections {
    pool: Pool,
    idle: Mutex<Idle>,
    /// Maximum number of connections; further ones go back to the pool.
    capacity: usize,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<HotConnection>,
    /// Whether a task that returns idle connections is running.
    is_swept: bool,
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) struct HotConnection {
    checkout: Checkout,
    /// When it was taken from the pool.
    since: Instant,
    used: Instant,
}

/// A pool of up to `max_connections` to the one of `servers` that is used, and its connections that are reused without it.
pub(super) fn pool_of(
    servers: &Arc<Servers>,
    max_connections: u32,
    acquire_timeout: Duration,
) -> (Pool, Arc<HotConnections>) {
    let pinging = Arc::clone(servers);
    let options = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            let servers = Arc::clone(&pinging);
            Box::pin(async move {
                let made = Instant::now().checked_sub(metadata.age);
                let is_current = made.is_some_and(|made| servers.is_current(made));
                let is_trusted = metadata.idle_for < TRUSTED_IDLE;
                Ok(is_current && (is_trusted || connection.ping().await.is_ok()))
            })
        })
        .after_release(|connection, _| {
            // A large row or value leaves a buffer of its size behind, which each connection would keep.
            connection.shrink_buffers();
            Box::pin(future::ready(Ok(true)))
        });
    let pool = Pool::new(options, servers);
    let hot_connections = HotConnections::new(pool.clone(), max_connections / CONNECTIONS_PER_HOT_ONE);
    (pool, Arc::new(hot_connections))
}

impl HotConnections {
    fn new(pool: Pool, capacity: u32) -> Self {
        Self { pool, idle: Mutex::default(), capacity: capacity as usize }
    }

    /// A recently used connection, or one from the pool.
    pub(super) async fn acquire(&self, permit: Option<Permit>) -> sqlx::Result<HotConnection> {
        let idle = self.idle().connections.pop();
        let is_usable = |idle: &HotConnection| idle.is_fresh() && self.pool.is_current(idle.since);
        match idle.filter(is_usable) {
            Some(mut connection) => {
                connection.checkout.count_as(permit);
                Ok(connection)
            }
            None => {
                let checkout = self.pool.acquire(permit).await?;
                let since = Instant::now();
                Ok(HotConnection { checkout, since, used: since })
            }
        }
    }

    /// Returns a connection that has no statement in progress. After an error it must be dropped instead.
    pub(super) fn put(self: &Arc<Self>, mut connection: HotConnection) {
        connection.used = Instant::now();
        connection.checkout.settle();
        let mut idle = self.idle();
        // Checked under the lock: `close` closes the pool first and then removes the connections here.
        if idle.connections.len() < self.capacity && connection.is_fresh() && !self.pool.is_closed() {
            idle.connections.push(connection);
            if !std::mem::replace(&mut idle.is_swept, true) {
                tokio::spawn(sweep(Arc::downgrade(self)));
            }
        }
    }

    /// Number of idle connections.
    pub(super) fn len(&self) -> usize {
        self.idle().connections.len()
    }

    /// Closes the pool and all its connections.
    pub(super) async fn close(&self) {
        let closed = self.pool.close();
        self.idle().connections.clear();
        closed.await;
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // The list is never left inconsistent by a panic.
        self.idle.lock()
    }
}

impl HotConnection {
    /// The connection, for a statement that is in progress until the connection is returned.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.checkout.connection()
    }

    fn is_fresh(&self) -> bool {
        self.used.elapsed() < TRUSTED_IDLE && self.since.elapsed() < MAX_KEPT
    }
}

/// Returns idle connections to the pool, where other callers may wait for them, until there are none.
async fn sweep(connections: Weak<HotConnections>) {
    loop {
        tokio::time::sleep(TRUSTED_IDLE).await;
        let Some(connections) = connections.upgrade() else { return };
        let mut idle = connections.idle();
        idle.connections.retain(HotConnection::is_fresh);
        if idle.connections.is_empty() {
            idle.is_swept = false;
            return;
        }
    }
}
