//! Progress events of a migration.

use std::sync::Arc;

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A phase begins, with the total amount of work; 0 if unknown.
    Phase {
        /// The collection.
        collection: &'a str,
        /// The phase.
        phase: Phase,
        /// Records, or rows of an index.
        total: u64,
    },
    /// Progress within the phase.
    Progress {
        /// Records, or rows of an index.
        done: u64,
        /// Total; 0 if unknown.
        total: u64,
    },
    /// A step is complete, and the next has not begun. If the process dies at or between steps, the same command
    /// resumes the run.
    Step(Step),
}

/// The phases of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reads the rows of the table.
    Target,
    /// Reads the source for the first time, without changes.
    Plan,
    /// Writes rows; reads the source again unless all batches were kept in memory.
    Copy,
    /// Builds the vector index.
    Index,
    /// Reads and compares both sides.
    Verify,
    /// Compares searches on both sides.
    Search,
    /// Processes the collections of a source.
    Collections,
}

/// The steps of a migration. Tests abort the process at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The table is locked against other migrations.
    Locked,
    /// Both sides are read, and the plan is complete.
    Planned,
    /// Tables are created and the run is recorded, in one transaction.
    Begun,
    /// A batch is sent but not committed.
    BatchSent,
    /// A batch is committed.
    BatchCommitted,
    /// All batches are committed, but this is not recorded yet.
    AllSent,
    /// The copy is recorded as complete.
    Copied,
    /// Builds the vector index.
    Indexed,
    /// Both sides are compared.
    Verified,
    /// The run is recorded as complete.
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

/// Receives events, on any thread.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Interval of progress events, in records.
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

    /// Counts a record.
    pub(crate) fn count(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(PROGRESS_RECORDS) {
            (self.observer)(Event::Progress { done: self.done, total: self.total });
        }
    }

    /// Number of counted records.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }
}
