//! What `inspect` finds.

use chroma::{Collection, MissingReason, Origin, Record, Vector, Warning};

use crate::source::Description;

/// A source.
pub(super) struct Report {
    pub(super) source: String,
    pub(super) description: Description,
    pub(super) collections: Vec<CollectionReport>,
    /// Warnings about the source as a whole.
    pub(super) warnings: Vec<Warning>,
}

/// One of its collections.
pub(super) struct CollectionReport {
    /// Its warnings include those of the read.
    pub(super) collection: Collection,
    pub(super) counts: Counts,
}

/// Records, and where their vectors come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) records: u64,
    /// Vectors from the log.
    pub(super) log: u64,
    /// Vectors from the index.
    pub(super) hnsw: u64,
    /// Of these, vectors of a cosine index, which Chroma normalised.
    pub(super) rounded: u64,
    /// Vectors salvaged from an index without its ids.
    pub(super) salvaged: u64,
    pub(super) missing: Missing,
    /// Records with text that is not Unicode, or with values that a record cannot hold.
    pub(super) inexact: u64,
}

/// Records without a vector, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) not_stored: u64,
    pub(super) deleted_in_log: u64,
    pub(super) index_lost: u64,
    pub(super) undecodable: u64,
    pub(super) not_returned: u64,
}

impl Report {
    /// The sum over all collections.
    pub(super) fn total(&self) -> Counts {
        let mut total = Counts::default();
        for CollectionReport { counts, .. } in &self.collections {
            total.add(counts);
        }
        total
    }

    /// Whether every record has its vector and can be migrated exactly.
    pub(super) fn is_exact(&self) -> bool {
        let total = self.total();
        total.missing.total() == 0 && total.inexact == 0
    }
}

impl CollectionReport {
    pub(super) fn new(collection: Collection) -> Self {
        Self { collection, counts: Counts::default() }
    }

    pub(super) fn add(&mut self, record: &Record) {
        let counts = &mut self.counts;
        counts.records += 1;
        counts.inexact += u64::from(!record.problems.is_empty());
        match &record.vector {
            Vector::Present { origin, .. } => match origin {
                Origin::Log => counts.log += 1,
                Origin::Hnsw => counts.hnsw += 1,
                Origin::HnswRounded => {
                    counts.hnsw += 1;
                    counts.rounded += 1;
                }
                Origin::Salvaged => counts.salvaged += 1,
            },
            Vector::Missing { reason } => match reason {
                MissingReason::NotStored => counts.missing.not_stored += 1,
                MissingReason::DeletedInLog => counts.missing.deleted_in_log += 1,
                MissingReason::IndexLost => counts.missing.index_lost += 1,
                MissingReason::Undecodable => counts.missing.undecodable += 1,
                MissingReason::NotReturned => counts.missing.not_returned += 1,
            },
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        let Self { records, log, hnsw, rounded, salvaged, missing, inexact } = other;
        self.records += records;
        self.log += log;
        self.hnsw += hnsw;
        self.rounded += rounded;
        self.salvaged += salvaged;
        self.inexact += inexact;
        let Missing { not_stored, deleted_in_log, index_lost, undecodable, not_returned } = missing;
        self.missing.not_stored += not_stored;
        self.missing.deleted_in_log += deleted_in_log;
        self.missing.index_lost += index_lost;
        self.missing.undecodable += undecodable;
        self.missing.not_returned += not_returned;
    }
}

impl Missing {
    pub(super) fn total(&self) -> u64 {
        let Self { not_stored, deleted_in_log, index_lost, undecodable, not_returned } = self;
        not_stored + deleted_in_log + index_lost + undecodable + not_returned
    }
}
