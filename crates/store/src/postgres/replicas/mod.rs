//! Standbys that stream the primary's log and answer reads.
//!
//! A read needs a replica that has replayed everything that this process and the client know of. The first message of the
//! read asks for the replayed position, so no further round trip is needed where the replica keeps up. A replica that
//! fails, lags or turns out to be another server rests: the primary answers until `watch` finds it fit again.

mod fault;
mod identity;
mod positions;
mod replica;
mod urls;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use records::{Service, lock::Mutex};
use tokio::{sync::Notify, task::JoinHandle};

pub(crate) use self::{
    fault::{Fault, ReadFailure, fault_of},
    replica::{Connections, Reading},
};
pub use self::{identity::StandbySettings, urls::split_database_urls};
use self::{
    identity::{Identity, Unfit},
    positions::Positions,
    replica::Replica,
};
use super::{
    checkout::Pool,
    error::StatementContext as _,
    lsn::{Known, Lsn, of_request},
};
use crate::Error;

/// A server of a database, as it was seen last.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerState {
    /// Host, port and database, without credentials.
    pub address: String,
    /// Whether it answers reads alone. The primary answers writes, and the reads that no replica answers.
    pub is_replica: bool,
    /// Why it answers no reads, if so.
    pub problem: Option<String>,
    /// How far it is behind the primary; `None` if that is unknown.
    pub lag: Option<Lag>,
    /// Of a replica, once it has answered.
    pub settings: Option<StandbySettings>,
    /// Reads that it has answered for this process.
    pub reads: u64,
    /// Reads that it should have answered, and that the primary answered instead.
    pub passed_on: u64,
}

/// How far a replica is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of the log that it has not replayed.
    pub bytes: u64,
    /// How long ago the primary was where the replica is now, to the second.
    pub time: Duration,
}

impl ServerState {
    /// Its role, as a word.
    pub fn role(&self) -> &'static str {
        if self.is_replica { "replica" } else { "primary" }
    }
}

/// The replicas of a database, at least one.
#[derive(Debug)]
pub(crate) struct Replicas {
    all: Vec<Arc<Replica>>,
    known: Arc<Known>,
    /// The connection to the primary that is reserved for checks.
    primary: Pool,
    /// What the primary was seen to be. Locked only briefly.
    identity: Mutex<Option<Identity>>,
    /// Where the primary was, and when. Locked only briefly.
    positions: Mutex<Positions>,
    reads_of_primary: AtomicU64,
    next: AtomicUsize,
    max_lag: Duration,
    /// The task that watches the replicas. Locked only briefly.
    watching: Mutex<Option<JoinHandle<()>>>,
}

impl Replicas {
    /// Looks at the replicas, and begins to watch them.
    ///
    /// # Errors
    /// When the primary does not say what it is, or one of them is not of its database. One that does not answer, or is no
    /// standby, rests.
    pub(crate) async fn begin(
        all: Vec<Connections>,
        primary: Pool,
        max_lag: Duration,
    ) -> Result<Arc<Self>, Error> {
        let look = Arc::new(Notify::new());
        let replica = |connections| Arc::new(Replica::new(connections, Arc::clone(&look)));
        let replicas = Arc::new(Self {
            all: all.into_iter().map(replica).collect(),
            known: Arc::default(),
            primary,
            identity: Mutex::default(),
            positions: Mutex::default(),
            reads_of_primary: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            max_lag,
            watching: Mutex::default(),
        });
        watch::look_at_primary(&replicas).await.during("read what the primary is")?;
        let unfit = watch::look(&replicas).await;
        if let Some(source) = unfit.into_iter().find(Unfit::is_another_database) {
            return Err(Error::Replica { source: source.into() });
        }
        *replicas.watching.lock() = Some(tokio::spawn(watch::watch(Arc::downgrade(&replicas), look)));
        Ok(replicas)
    }

    /// What notes the positions after commits on the primary.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// The replica for the next read of `service`, if one is fit.
    pub(crate) fn choose(&self, service: Option<Service>) -> Option<Reading> {
        let needed = self.known.get().max(of_request());
        if needed == Lsn::PRIMARY {
            return None;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let (later, sooner) = self.all.split_at(first % self.all.len());
        // Of equal ones the first, so that they take turns.
        let fit = sooner.iter().chain(later).filter(|replica| !replica.is_resting());
        let chosen = fit.min_by_key(|replica| (replica.surely_lacks(needed), replica.reads_in_progress()))?;
        Some(Reading::new(Arc::clone(chosen), needed, service))
    }

    /// Counts a read that the primary answers.
    pub(crate) fn count_on_primary(&self) {
        self.reads_of_primary.fetch_add(1, Ordering::Relaxed);
    }

    /// The servers as they were seen last, the one at `primary` first.
    pub(crate) fn servers(&self, primary: &str) -> Vec<ServerState> {
        let of_primary = ServerState {
            address: primary.to_owned(),
            is_replica: false,
            problem: None,
            lag: None,
            settings: None,
            reads: self.reads_of_primary.load(Ordering::Relaxed),
            passed_on: 0,
        };
        std::iter::once(of_primary).chain(self.all.iter().map(|replica| replica.seen())).collect()
    }

    /// Closes all connections to replicas.
    pub(crate) async fn close(&self) {
        if let Some(watching) = self.watching.lock().take() {
            watching.abort();
        }
        futures_util::future::join_all(self.all.iter().map(|replica| replica.close())).await;
    }
}
