//! The report of a migration.

use std::{sync::Arc, time::Duration};

use chroma::{EmptyDatabase, Warning};
use records::Service;
use store::postgres::{
    collections::{Compared, Registered},
    jobs::Origin,
    schema::ServerDescription,
};
use uuid::Uuid;

use crate::{
    Error,
    mapping::{Defaults, RejectReason},
    options::Mode,
};

/// A record that PostgreSQL cannot hold exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// ChromaDB's id.
    pub source_id: String,
    /// The reason.
    pub reason: RejectReason,
}

impl Reject {
    /// Whether a row could hold it, but the table rejected the row.
    pub(crate) fn is_by_table(&self) -> bool {
        self.reason == RejectReason::RefusedByTable
    }
}

/// A record whose row was left unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// ChromaDB's id; `None` if only the row is known.
    pub source_id: Option<String>,
    /// The row's id.
    pub id: Uuid,
    /// The reason.
    pub reason: ConflictReason,
}

impl Conflict {
    /// A conflict whose record is unknown.
    pub(crate) fn of_row(id: Uuid, reason: ConflictReason) -> Self {
        Self { source_id: None, id, reason }
    }

    /// ChromaDB's id if known, else the row's.
    pub fn shown_id(&self) -> String {
        self.source_id.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Why a row was left unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictReason {
    /// It was edited in PostgreSQL since it was migrated.
    Edited,
    /// It was edited in PostgreSQL, and its record is no longer in the source.
    EditedAndGone,
    /// It was created in PostgreSQL.
    BornHere,
    /// It belongs to another collection.
    OfAnother,
    /// A client of Chroma or of a service has deleted it since it was migrated.
    DeletedHere,
}

impl ConflictReason {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::EditedAndGone => "edited_and_gone",
            Self::BornHere => "born_in_postgresql",
            Self::OfAnother => "of_another_collection",
            Self::DeletedHere => "deleted_here",
        }
    }
}

/// A count and the first few ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    /// The count.
    pub count: u64,
    /// The first ids.
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

/// What the copy did, or would do. Except for conflicts of rows whose record is gone, `written + updated + unchanged
/// + conflicts + rejects = source_records`.
#[derive(Clone, Debug)]
pub struct CopyReport {
    /// Records of the collection.
    pub source_records: u64,
    /// Records that the source counts but did not return.
    pub unread: u64,
    /// New rows.
    pub written: u64,
    /// Unedited rows whose records have changed.
    pub updated: u64,
    /// Rows that already equal their records.
    pub unchanged: u64,
    /// Deleted rows, whose records are gone from the source.
    pub deleted: u64,
    /// Kept rows, whose records are gone from the source.
    pub stale: u64,
    /// Rows that differ from their records and were left unchanged.
    pub conflicts: Vec<Conflict>,
    /// Rejected records.
    pub rejects: Vec<Reject>,
    /// Defaults that were written.
    pub defaults: Defaults,
    /// Zero vectors, for which the cosine distance is undefined.
    pub zero_vectors: Examples,
    /// Records whose text was embedded.
    pub embedded: u64,
    /// Warnings about the source.
    pub warnings: Vec<Warning>,
    /// Order-independent digest of the source's records.
    pub digest_source: String,
}

/// A row that differs from its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// ChromaDB's id.
    pub source_id: String,
    /// Columns that differ; empty beyond the first [`Difference::MOST_EXPLAINED`] rows.
    pub columns: Vec<String>,
    /// Whether the row was edited since it was migrated.
    pub is_edited: bool,
    /// Why the row does not belong to the collection, if so; it is then not compared.
    pub foreign: Option<ConflictReason>,
}

impl Difference {
    /// Maximum rows whose differing columns are determined.
    pub const MOST_EXPLAINED: usize = 1_000;
}

/// The comparison of both sides, each of which is read completely.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Records of the source.
    pub source_records: u64,
    /// Records that the source counts but did not return.
    pub unread: u64,
    /// Rows of the collection.
    pub rows: u64,
    /// Records that are equal on both sides.
    pub matched: u64,
    /// Records of Chroma that have no row. ChromaDB's ids.
    pub missing: Vec<String>,
    /// Records whose row differs.
    pub different: Vec<Difference>,
    /// Rows whose records are gone from the source.
    pub stale: u64,
    /// Records that no row can hold, and quarantined records that the table rejected.
    pub rejects: Vec<Reject>,
    /// Order-independent digest of all source records that a row can hold, independent of the table.
    pub digest_source: String,
    /// The same digest of the existing rows.
    pub digest_target: String,
    /// Searches on both sides.
    pub searches: Searches,
}

/// The same searches on both sides, each for ten results.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Searches {
    /// Number of searches that returned results.
    pub count: u64,
    /// Number of skipped searches, whose vectors have no finite distance, such as zero vectors.
    pub without_distance: u64,
    /// Share of the source's exact results that PostgreSQL's exact results contain, up to ties; `None` without
    /// searches.
    pub parity: Option<f64>,
    /// Share of PostgreSQL's exact results that its index scan returns, up to ties; `None` without an index.
    pub index_recall: Option<f64>,
}

/// How a migration ended, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It failed, and others of the same run did not.
    Failed,
    /// The comparison found missing or different rows, or there are [discrepancies](CollectionReport::discrepancies).
    Different,
    /// Rows edited or created in PostgreSQL conflict; they were kept.
    Conflicts,
    /// Records were rejected.
    Rejected,
    /// The copy is complete; the comparison was skipped.
    Copied,
    /// It did not start, since another collection of the run has rejected records.
    Stopped,
    /// It was only planned, on request.
    Planned,
    /// Both sides are equal.
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
    /// A dry run was requested.
    DryRun,
    /// This collection, or another of the same run, has rejected records.
    Rejects,
}

/// How long each phase took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Reading both sides before the first change.
    pub scan: Duration,
    /// Copying.
    pub copy: Duration,
    /// Building the vector index.
    pub index: Duration,
    /// Comparing, except searches.
    pub verify: Duration,
    /// Searching on both sides.
    pub search: Duration,
}

/// One collection's migration.
#[derive(Clone, Debug)]
pub struct CollectionReport {
    /// The origin of the records.
    pub origin: Origin,
    /// The target table.
    pub table: String,
    /// Whether the table does not exist, because the collection has no records.
    pub is_table_absent: bool,
    /// The run: that of the report, unless an older one of this collection was resumed.
    pub run_id: Uuid,
    /// What the copy did; `None` for a comparison only.
    pub copied: Option<CopyReport>,
    /// The plan of the vector index, if one was made.
    pub index: Option<upkeep::Plan>,
    /// Why an index could not be built, if so. The rows are compared regardless.
    pub index_failure: Option<String>,
    /// The comparison, if it was made.
    pub verification: Option<Verification>,
    /// Why it stopped before the first change, if it did.
    pub stopped: Option<Stopped>,
    /// Duration by phase.
    pub phases: Phases,
    /// Whether Chroma clients see it, or would see it after a planned run; `None` if that was not tried.
    pub registered: Option<Registered>,
    /// How what they see compares with the source, as a comparison found.
    pub compared: Compared,
    /// Why it failed, where others of its run did not.
    pub failure: Option<Arc<Error>>,
}

impl CollectionReport {
    /// An empty report.
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
            registered: None,
            compared: Compared::Equal,
            failure: None,
        }
    }

    /// Adds what became of the collection for Chroma clients. A plan that changes only this is a plan, too.
    pub(crate) fn set_registered(&mut self, registered: Registered, mode: Mode) {
        let is_service = Service::ALL.into_iter().any(|service| service.collection() == self.table);
        if is_service && registered == Registered::NameTaken {
            // It has no records, and the collection that was migrated first describes the service.
            return;
        }
        if mode == Mode::DryRun && registered.is_changed() {
            self.stopped = Some(Stopped::DryRun);
        }
        self.registered = Some(registered);
    }

    /// The outcome.
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
        } else if self.verification.as_ref().is_some_and(differs)
            || self.compared != Compared::Equal
            || !self.discrepancies().is_empty()
        {
            Outcome::Different
        } else if self.copied.as_ref().is_some_and(|copied| !copied.conflicts.is_empty())
            || self.registered.as_ref().is_some_and(Registered::is_conflict)
        {
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

/// A database without collections, or a tenant without databases, of a source that was migrated whole.
#[derive(Clone, Debug)]
pub struct DatabaseReport {
    /// What it is.
    pub database: EmptyDatabase,
    /// What became of it.
    pub state: DatabaseState,
}

/// What became of a database without collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    /// Nothing: it was only planned.
    Planned,
    /// It was registered for Chroma clients, or was refused.
    Registered(Registered),
    /// The comparison found that Chroma clients see it.
    Found,
    /// The comparison found that they do not.
    Missing,
}

/// A migrated collection that its source no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneCollection {
    /// Where it came from.
    pub origin: Origin,
    /// Its table, which was kept.
    pub table: String,
    /// Whether other collections share the table.
    pub is_shared: bool,
}

/// The report of a run or a comparison of one or more collections.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run.
    pub run_id: Uuid,
    /// Whether an unfinished run was resumed.
    pub is_resumed: bool,
    /// The collections, in the order of the request.
    pub collections: Vec<CollectionReport>,
    /// The databases without collections, and the tenants without databases.
    pub databases: Vec<DatabaseReport>,
    /// Collections that the source no longer has, of those that would be selected.
    pub gone: Vec<GoneCollection>,
    /// Whether both sides were compared only, and nothing was to be changed.
    pub is_comparison: bool,
    /// The server.
    pub server: ServerDescription,
    /// Warnings about a source whose collections were all migrated.
    pub warnings: Vec<Warning>,
    /// Wall time.
    pub elapsed: Duration,
}

impl Report {
    /// Whether every planned index was built.
    pub fn has_all_indexes(&self) -> bool {
        self.collections.iter().all(|collection| collection.index_failure.is_none())
    }

    /// The worst of the collections' outcomes.
    pub fn outcome(&self) -> Outcome {
        let is_different = self.databases.iter().any(|one| one.state == DatabaseState::Missing)
            || (self.is_comparison && !self.gone.is_empty());
        let is_conflict = self.databases.iter().any(
            |one| matches!(&one.state, DatabaseState::Registered(registered) if registered.is_conflict()),
        );
        let of_others = is_different.then_some(Outcome::Different);
        let of_others = of_others.into_iter().chain(is_conflict.then_some(Outcome::Conflicts));
        let outcomes = self.collections.iter().map(CollectionReport::outcome).chain(of_others);
        outcomes.min().unwrap_or(Outcome::NothingToMigrate)
    }
}
