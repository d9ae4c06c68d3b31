//! What a migration tells whoever looks on, while it goes on.

use std::sync::Arc;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A phase begins, with so much to do; 0 is unknown.
    Phase {
        /// The collection.
        collection: &'a str,
        /// What is being done.
        phase: Phase,
        /// Records, or rows of an index.
        total: u64,
    },
    /// So much of the phase is done.
    Progress {
        /// Records, or rows of an index.
        done: u64,
        /// In all; 0 is unknown.
        total: u64,
    },
    /// A step is over, and the next has not begun. If the process dies at any of them, or between two, the same
    /// command goes on.
    Step(Step),
}

/// What a migration is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What the table holds is read.
    Target,
    /// The source is read for the first time, and nothing is changed yet.
    Plan,
    /// Rows are written; where not all of them were kept in memory, all records are read again for it.
    Copy,
    /// The vector index is built.
    Index,
    /// Both sides are read again and compared.
    Verify,
    /// The same searches are made on both sides.
    Search,
    /// The collections of a source are gone through.
    Collections,
}

/// The steps of a migration. The tests end the process at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The table is held against other migrations.
    Locked,
    /// Both sides are read, and it is known what is to be done.
    Planned,
    /// Tables are there and the run is noted, in one transaction.
    Begun,
    /// A batch is sent, and not committed.
    BatchSent,
    /// A batch is committed.
    BatchCommitted,
    /// All batches are committed, and it is not noted yet.
    AllSent,
    /// It is noted that all rows are there.
    Copied,
    /// The vector index is built.
    Indexed,
    /// Both sides are compared.
    Verified,
    /// The run is noted as complete.
    Complete,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 10] = [
        Self::Locked,
        Self::Planned,
        Self::Begun,
        Self::BatchSent,
        Self::BatchCommitted,
        Self::AllSent,
        Self::Copied,
        Self::Indexed,
        Self::Verified,
        Self::Complete,
    ];
}

/// Takes events, on any thread.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Progress is told this often.
pub(crate) const PROGRESS_RECORDS: u64 = 1_000;

/// Counts records for an observer.
#[derive(Clone)]
pub(crate) struct Counter {
    observer: Observer,
    done: u64,
    total: u64,
}

impl Counter {
    /// Announces a phase.
    pub(crate) fn begin(observer: &Observer, collection: &str, phase: Phase, total: u64) -> Self {
        observer(Event::Phase { collection, phase, total });
        Self { observer: observer.clone(), done: 0, total }
    }

    /// One more is done.
    pub(crate) fn count(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_RECORDS) {
            (self.observer)(Event::Progress { done: self.done, total: self.total });
        }
    }

    /// How many are done.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }
}
