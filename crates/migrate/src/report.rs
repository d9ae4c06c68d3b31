//! What a migration did and found, for people and programs alike.

use std::time::Duration;

use chroma::Warning;
use records::Service;
use store::postgres::vector_index::IndexPlan;

use crate::mapping::{Defaults, RejectReason};

/// A record that PostgreSQL cannot hold exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// ChromaDB's id.
    pub source_id: String,
    /// Why not.
    pub reason: RejectReason,
}

/// What the copy did. `written + unchanged + conflicts + rejects = source_records`, always.
#[derive(Clone, Debug)]
pub struct CopyReport {
    /// Records that the collection holds.
    pub source_records: u64,
    /// Rows that are new.
    pub written: u64,
    /// Rows that were there, equal.
    pub unchanged: u64,
    /// Rows that were there, different, and were left alone. ChromaDB's ids.
    pub conflicts: Vec<String>,
    /// Records that stayed behind.
    pub rejects: Vec<Reject>,
    /// Parts that were filled in.
    pub defaults: Defaults,
    /// What is odd about the source.
    pub warnings: Vec<Warning>,
}

/// A row that is not what the record in Chroma is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// ChromaDB's id.
    pub source_id: String,
    /// Parts that differ; empty when the row was edited into something that no migration writes.
    pub parts: Vec<&'static str>,
}

/// The comparison of both sides, each read completely.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Records that are equal on both sides.
    pub matched: u64,
    /// Records of Chroma that have no row. ChromaDB's ids.
    pub missing: Vec<String>,
    /// Records whose row differs.
    pub different: Vec<Difference>,
    /// Order-independent digest of the records that the source says should be there.
    pub digest_source: String,
    /// The same of the rows that are there.
    pub digest_target: String,
}

/// How a migration ended, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The comparison found rows missing or different that the copy had written or found equal.
    Different,
    /// Rows edited in PostgreSQL were in the way; they were kept.
    Conflicts,
    /// Records could not be held by PostgreSQL.
    Rejected,
    /// Everything is there and equal.
    Verified,
}

impl Outcome {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::Conflicts => "conflicts",
            Self::Rejected => "rejected",
            Self::Verified => "verified",
        }
    }
}

/// One collection's migration.
#[derive(Clone, Debug)]
pub struct CollectionReport {
    /// Whose collection it is.
    pub service: Service,
    /// Chroma's tenant.
    pub tenant: String,
    /// Chroma's database.
    pub database: String,
    /// Chroma's name of it.
    pub collection: String,
    /// The table that it went into.
    pub table: &'static str,
    /// What the copy did.
    pub copied: CopyReport,
    /// What became of the vector index.
    pub index: IndexPlan,
    /// The comparison afterwards.
    pub verification: Verification,
    /// Wall time of all of it.
    pub elapsed: Duration,
}

impl CollectionReport {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let verification = &self.verification;
        if !verification.missing.is_empty() || !verification.different.is_empty() {
            Outcome::Different
        } else if !self.copied.conflicts.is_empty() {
            Outcome::Conflicts
        } else if !self.copied.rejects.is_empty() {
            Outcome::Rejected
        } else {
            Outcome::Verified
        }
    }
}
