//! What a migration did and found, for people and programs alike.

use std::{sync::Arc, time::Duration};

use chroma::Warning;
use store::postgres::{jobs::Origin, schema::ServerDescription};
use uuid::Uuid;

use crate::{
    Error,
    mapping::{Defaults, RejectReason},
};

/// A record that PostgreSQL cannot hold exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// ChromaDB's id.
    pub source_id: String,
    /// Why not.
    pub reason: RejectReason,
}

impl Reject {
    /// Whether a row could hold it, if the table did not refuse that row.
    pub(crate) fn is_by_table(&self) -> bool {
        self.reason == RejectReason::RefusedByTable
    }
}

/// A record whose row was left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// ChromaDB's id; `None` where only the row is known, whose record is gone or was copied unread.
    pub source_id: Option<String>,
    /// The row's id.
    pub id: Uuid,
    /// Why.
    pub reason: ConflictReason,
}

impl Conflict {
    /// A conflict of which only the row is known.
    pub(crate) fn of_row(id: Uuid, reason: ConflictReason) -> Self {
        Self { source_id: None, id, reason }
    }

    /// ChromaDB's id, or else the row's.
    pub fn shown_id(&self) -> String {
        self.source_id.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Why a row was left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictReason {
    /// It was edited in PostgreSQL since it was migrated.
    Edited,
    /// It was edited in PostgreSQL, and its record is no longer in the source.
    EditedAndGone,
    /// It was born in PostgreSQL.
    BornHere,
    /// Another collection brought it.
    OfAnother,
}

impl ConflictReason {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::EditedAndGone => "edited_and_gone",
            Self::BornHere => "born_in_postgresql",
            Self::OfAnother => "of_another_collection",
        }
    }
}

/// A number, and the ids of the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub ids: Vec<String>,
}

impl Examples {
    const SHOWN: usize = 3;

    pub(crate) fn add(&mut self, id: &str) {
        self.count += 1;
        if self.ids.len() < Self::SHOWN {
            self.ids.push(id.to_owned());
        }
    }
}

/// What the copy did, or would do. `written + updated + unchanged + conflicts + rejects = source_records`, always,
/// but for conflicts of rows whose record is gone.
#[derive(Clone, Debug)]
pub struct CopyReport {
    /// Records that the collection holds.
    pub source_records: u64,
    /// Records that the source counts beyond those, and did not give.
    pub unread: u64,
    /// Rows that are new.
    pub written: u64,
    /// Rows that were there as the migration had written them, and whose records have changed.
    pub updated: u64,
    /// Rows that were there, equal.
    pub unchanged: u64,
    /// Rows whose records are gone from the source, and which were deleted.
    pub deleted: u64,
    /// Rows whose records are gone from the source, and which were kept.
    pub stale: u64,
    /// Rows that were there, different, and were left alone.
    pub conflicts: Vec<Conflict>,
    /// Records that stayed behind.
    pub rejects: Vec<Reject>,
    /// Parts that were filled in.
    pub defaults: Defaults,
    /// Vectors of zeros only, from which no cosine distance is defined.
    pub zero_vectors: Examples,
    /// Records whose vector was made from their text.
    pub embedded: u64,
    /// What is odd about the source.
    pub warnings: Vec<Warning>,
    /// Order-independent digest of the records that the source says should be there.
    pub digest_source: String,
}

/// A row that is not what the record in Chroma is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// ChromaDB's id.
    pub source_id: String,
    /// Columns that differ; empty if they were not looked at, of more than [`Difference::MOST_EXPLAINED`].
    pub columns: Vec<String>,
    /// Whether the row was edited since it was migrated.
    pub is_edited: bool,
    /// Why the row is not the collection's, if it is not: it was not compared then.
    pub foreign: Option<ConflictReason>,
}

impl Difference {
    /// So many are explained column by column.
    pub const MOST_EXPLAINED: usize = 1_000;
}

/// The comparison of both sides, each read completely.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Records of the source.
    pub source_records: u64,
    /// Records that the source counts beyond those, and did not give.
    pub unread: u64,
    /// Rows that the collection has brought.
    pub rows: u64,
    /// Records that are equal on both sides.
    pub matched: u64,
    /// Records of Chroma that have no row. ChromaDB's ids.
    pub missing: Vec<String>,
    /// Records whose row differs.
    pub different: Vec<Difference>,
    /// Rows whose records are gone from the source.
    pub stale: u64,
    /// Records that no row can hold, and those that the table refused and which were set aside as they are.
    pub rejects: Vec<Reject>,
    /// Order-independent digest of all records of the source that a row can hold, whatever the table has.
    pub digest_source: String,
    /// The same of the rows that are there.
    pub digest_target: String,
    /// Searches on both sides.
    pub searches: Searches,
}

/// The same searches on both sides, each for ten results.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Searches {
    /// How many were made and had something to find.
    pub count: u64,
    /// How many were left out, since no distance from their vector is finite, as from one of zeros.
    pub without_distance: u64,
    /// Share of the exact answers of the source that the exact answers of PostgreSQL have too, up to ties; 1 when all,
    /// `None` where nothing was searched for.
    pub parity: Option<f64>,
    /// Share of PostgreSQL's exact answers that its index finds, up to ties; `None` where there is no index.
    pub index_recall: Option<f64>,
}

/// How a migration ended, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It could not be carried out, and others of the same run were.
    Failed,
    /// The comparison found rows missing or different that the copy had written or found equal, or there are
    /// [discrepancies](CollectionReport::discrepancies).
    Different,
    /// Rows that were edited or born in PostgreSQL were in the way; they were kept.
    Conflicts,
    /// Records could not be held by PostgreSQL.
    Rejected,
    /// Everything is there; it was not compared, as asked.
    Copied,
    /// It was not begun, since another collection of the run has records that PostgreSQL cannot hold.
    Stopped,
    /// It was only planned.
    Planned,
    /// Everything is there and equal.
    Verified,
    /// There are no records.
    NothingToMigrate,
}

impl Outcome {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Different => "different",
            Self::Conflicts => "conflicts",
            Self::Rejected => "rejected",
            Self::Copied => "copied",
            Self::Stopped => "stopped",
            Self::Planned => "planned",
            Self::Verified => "verified",
            Self::NothingToMigrate => "nothing_to_migrate",
        }
    }
}

/// Why a migration stopped before anything was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Only a plan was asked for.
    DryRun,
    /// This collection, or another of the same run, has records that PostgreSQL cannot hold.
    Rejects,
}

/// How long each phase took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Reading what the table holds and what the source holds, before anything is changed.
    pub scan: Duration,
    /// Copying.
    pub copy: Duration,
    /// Building the vector index.
    pub index: Duration,
    /// Comparing, without the searches.
    pub verify: Duration,
    /// Searching on both sides.
    pub search: Duration,
}

/// One collection's migration.
#[derive(Clone, Debug)]
pub struct CollectionReport {
    /// Where the records come from.
    pub origin: Origin,
    /// The table that they went into, or would go into.
    pub table: String,
    /// Whether there is no such table, since the collection has no records and nothing else has made it.
    pub is_table_absent: bool,
    /// The run that brings them: that of the whole report, unless an older one of this collection was finished.
    pub run_id: Uuid,
    /// What the copy did; `None` of a mere comparison.
    pub copied: Option<CopyReport>,
    /// What became of the vector index, if it was looked at.
    pub index: Option<upkeep::Plan>,
    /// Why an index could not be built, if one could not. It says nothing of the rows, which are compared all the same.
    pub index_failure: Option<String>,
    /// The comparison afterwards, if there was one.
    pub verification: Option<Verification>,
    /// Why it stopped before anything was changed, if it did.
    pub stopped: Option<Stopped>,
    /// How long it took.
    pub phases: Phases,
    /// Why it could not be carried out, where the others of its run were.
    pub failure: Option<Arc<Error>>,
}

impl CollectionReport {
    /// Of a collection with which nothing was done yet.
    pub(crate) fn new(origin: Origin, table: &str, run_id: Uuid) -> Self {
        Self {
            origin,
            table: table.to_owned(),
            is_table_absent: false,
            run_id,
            copied: None,
            index: None,
            index_failure: None,
            verification: None,
            stopped: None,
            phases: Phases::default(),
            failure: None,
        }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let differs = |verification: &Verification| {
            let has_conflicts = self.copied.as_ref().is_some_and(|copied| !copied.conflicts.is_empty());
            let explained = has_conflicts || verification.rejects.iter().any(Reject::is_by_table);
            let stale = if self.copied.is_some() { 0 } else { verification.stale };
            verification.differs()
                || stale > 0
                || (verification.searches.parity.is_some_and(|parity| parity < 1.0) && !explained)
        };
        let is_rejected = self.copied.as_ref().is_some_and(|copied| !copied.rejects.is_empty())
            || self.verification.as_ref().is_some_and(|verification| !verification.rejects.is_empty());
        let source_records = self.source_records();
        if self.failure.is_some() {
            Outcome::Failed
        } else if self.verification.as_ref().is_some_and(differs) || !self.discrepancies().is_empty() {
            Outcome::Different
        } else if self.copied.as_ref().is_some_and(|copied| !copied.conflicts.is_empty()) {
            Outcome::Conflicts
        } else if is_rejected {
            Outcome::Rejected
        } else if let Some(stopped) = self.stopped {
            match stopped {
                Stopped::DryRun => Outcome::Planned,
                Stopped::Rejects => Outcome::Stopped,
            }
        } else if source_records == 0 {
            Outcome::NothingToMigrate
        } else if self.verification.is_some() {
            Outcome::Verified
        } else {
            Outcome::Copied
        }
    }

    /// Records of the source.
    pub fn source_records(&self) -> u64 {
        let of_copy = self.copied.as_ref().map(|copied| copied.source_records);
        let of_verification = || self.verification.as_ref().map(|verification| verification.source_records);
        of_copy.or_else(of_verification).unwrap_or(0)
    }
}

/// A run, or a comparison, of one collection or several.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run.
    pub run_id: Uuid,
    /// Whether an unfinished run went on.
    pub is_resumed: bool,
    /// The collections, in the order in which they were given.
    pub collections: Vec<CollectionReport>,
    /// The server.
    pub server: ServerDescription,
    /// What is odd about a source that was migrated whole.
    pub warnings: Vec<Warning>,
    /// Wall time.
    pub elapsed: Duration,
}

impl Report {
    /// Whether every index was built that was to be.
    pub fn has_all_indexes(&self) -> bool {
        self.collections.iter().all(|collection| collection.index_failure.is_none())
    }

    /// The worst of the collections' outcomes.
    pub fn outcome(&self) -> Outcome {
        self.collections.iter().map(CollectionReport::outcome).min().unwrap_or(Outcome::NothingToMigrate)
    }
}
