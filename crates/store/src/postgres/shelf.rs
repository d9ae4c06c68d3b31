//! Recently used connections, which searches reuse without the pool.
//!
//! The pool pings the server whenever a connection is returned, and gives out the one that was idle longest: that
//! makes a search of one millisecond a fifth slower, on a server process with cold caches.

use std::{
    sync::{Arc, MutexGuard, Weak},
    time::{Duration, Instant},
};

use records::lock::Mutex;
use sqlx::PgConnection;

use super::{
    checkout::{Checkout, Pool},
    shares::Permit,
};

/// A connection that was idle for longer is pinged before it is used. Under load the ping would cost each operation a
/// round trip.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// After this time a connection is returned to the pool, which applies its own limits, such as the maximum age.
const LENT: Duration = Duration::from_secs(60);

/// The most recently used connections of a pool.
#[derive(Debug)]
pub(super) struct Shelf {
    pool: Pool,
    shelved: Mutex<Shelved>,
    /// Maximum number of connections; further ones go back to the pool.
    room: usize,
}

#[derive(Debug, Default)]
struct Shelved {
    lent: Vec<Lent>,
    /// Whether a task that returns idle connections is running.
    is_swept: bool,
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) struct Lent {
    checkout: Checkout,
    /// When it was taken from the pool.
    since: Instant,
    used: Instant,
}

impl Shelf {
    pub(super) fn new(pool: Pool, room: u32) -> Self {
        Self { pool, shelved: Mutex::default(), room: room as usize }
    }

    /// A recently used connection, or one from the pool.
    pub(super) async fn acquire(&self, permit: Option<Permit>) -> sqlx::Result<Lent> {
        let shelved = self.shelved().lent.pop();
        match shelved.filter(Lent::is_fresh) {
            Some(mut lent) => {
                lent.checkout.count_as(permit);
                Ok(lent)
            }
            None => {
                let checkout = self.pool.acquire(permit).await?;
                let since = Instant::now();
                Ok(Lent { checkout, since, used: since })
            }
        }
    }

    /// Returns a connection that has no statement in progress. After an error it must be dropped instead.
    pub(super) fn put(self: &Arc<Self>, mut lent: Lent) {
        lent.used = Instant::now();
        lent.checkout.settle();
        let mut shelved = self.shelved();
        // Checked under the lock: `close` closes the pool first and then removes the connections here.
        if shelved.lent.len() < self.room && lent.is_fresh() && !self.pool.is_closed() {
            shelved.lent.push(lent);
            if !std::mem::replace(&mut shelved.is_swept, true) {
                tokio::spawn(sweep(Arc::downgrade(self)));
            }
        }
    }

    /// Number of idle connections.
    pub(super) fn len(&self) -> usize {
        self.shelved().lent.len()
    }

    /// Closes the pool and all its connections.
    pub(super) async fn close(&self) {
        let closed = self.pool.close();
        self.shelved().lent.clear();
        closed.await;
    }

    fn shelved(&self) -> MutexGuard<'_, Shelved> {
        // The list is never left inconsistent by a panic.
        self.shelved.lock()
    }
}

impl Lent {
    /// The connection, for a statement that is in progress until the connection is returned.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.checkout.connection()
    }

    fn is_fresh(&self) -> bool {
        self.used.elapsed() < TRUSTED_IDLE && self.since.elapsed() < LENT
    }
}

/// Returns idle connections to the pool, where other callers may wait for them, until there are none.
async fn sweep(shelf: Weak<Shelf>) {
    loop {
        tokio::time::sleep(TRUSTED_IDLE).await;
        let Some(shelf) = shelf.upgrade() else { return };
        let mut shelved = shelf.shelved();
        shelved.lent.retain(Lent::is_fresh);
        if shelved.lent.is_empty() {
            shelved.is_swept = false;
            return;
        }
    }
}
