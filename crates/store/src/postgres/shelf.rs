//! Connections that searches hand to each other.
//!
//! The pool asks a server whether a connection lives whenever one is given back, and gives out the one that has waited
//! longest: to a search of a millisecond that is a fifth more, and a process with cold caches.

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

/// A connection that was idle for longer is asked whether it lives, before it is used. Under load that would cost
/// each operation a round trip; and what fails there on a connection that just died may be tried again.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Then a connection goes back to the pool, whose rules (how old it may become) hold for it again.
const LENT: Duration = Duration::from_secs(60);

/// A few connections of a pool, those that were used last.
#[derive(Debug)]
pub(super) struct Shelf {
    pool: Pool,
    shelved: Mutex<Shelved>,
    /// How many it holds at most: all others are left to the pool.
    room: usize,
}

#[derive(Debug, Default)]
struct Shelved {
    lent: Vec<Lent>,
    /// Whether somebody looks for those that nobody uses.
    is_swept: bool,
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) struct Lent {
    checkout: Checkout,
    /// When the pool gave it out.
    since: Instant,
    used: Instant,
}

impl Shelf {
    pub(super) fn new(pool: Pool, room: u32) -> Self {
        Self { pool, shelved: Mutex::default(), room: room as usize }
    }

    /// A connection that was used a moment ago, or one of the pool.
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

    /// Takes back a connection that has no statement under way. Whoever had an error drops it instead.
    pub(super) fn put(self: &Arc<Self>, mut lent: Lent) {
        lent.used = Instant::now();
        lent.checkout.settle();
        let mut shelved = self.shelved();
        // Seen while nobody else can look: whoever closes the pool empties the shelf thereafter.
        if shelved.lent.len() < self.room && lent.is_fresh() && !self.pool.is_closed() {
            shelved.lent.push(lent);
            if !std::mem::replace(&mut shelved.is_swept, true) {
                tokio::spawn(sweep(Arc::downgrade(self)));
            }
        }
    }

    /// How many connections wait here.
    pub(super) fn len(&self) -> usize {
        self.shelved().lent.len()
    }

    /// Closes the pool with all of its connections.
    pub(super) async fn close(&self) {
        let closed = self.pool.close();
        self.shelved().lent.clear();
        closed.await;
    }

    fn shelved(&self) -> MutexGuard<'_, Shelved> {
        // Whoever panicked did so before or after a change of one step.
        self.shelved.lock()
    }
}

impl Lent {
    /// The connection, for a statement that is under way until the connection is put back.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.checkout.connection()
    }

    fn is_fresh(&self) -> bool {
        self.used.elapsed() < TRUSTED_IDLE && self.since.elapsed() < LENT
    }
}

/// Gives connections that nobody uses back to the pool, where others may wait for them, until there are none.
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
