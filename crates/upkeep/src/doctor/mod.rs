//! Finds problems of a server and its tables, with fixes.
//!
//! [`examine`] gathers facts and changes nothing; [`diagnose`], a pure function, derives the findings.

mod diagnose;
mod examine;
mod json;
mod searches;

use std::{fmt, time::Duration};

use serde::Serialize;
use store::postgres::{
    EmbeddingHealth, LastSearches, OddValues, ServerFacts, ServerState, Table, TableFacts,
    vector_index::Observation,
};

pub use diagnose::diagnose;
pub use examine::{Embed, ExamineError, examine};
pub use json::to_json;

/// The state of a server and of our tables.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The server.
    pub server: ServerFacts,
    /// The replicas that answer reads.
    pub replicas: Vec<ServerState>,
    /// The existing tables with vectors, by name.
    pub tables: Vec<TableExamination>,
    /// Missing tables of services, by name.
    pub absent: Vec<String>,
    /// Whether the tables created by migrations are known.
    pub collections: Examined<()>,
    /// Values of the judge's results that responses cannot represent; `None` without results.
    pub results: Examined<Option<OddValues>>,
    /// Invalid times and other values in the bookkeeping tables.
    pub times: Examined<Vec<OddValues>>,
    /// Our tables that hide rows from the role.
    pub hidden: Vec<String>,
}

/// The state of a table.
#[derive(Clone, Debug)]
pub struct TableExamination {
    /// The expected definition.
    pub table: Table,
    /// Facts from the catalog and statistics.
    pub facts: TableFacts,
    /// Problems of its columns. If there are any, the rest is not examined.
    pub misfits: Vec<String>,
    /// Its vector indexes.
    pub indexes: Examined<Observation>,
    /// Results of test searches; `None` if the table has no vectors.
    pub searches: Examined<Option<MeasuredSearches>>,
    /// The history of searches, by filter class.
    pub history: Examined<Vec<LastSearches>>,
    /// Its embeddings.
    pub embeddings: Examined<EmbeddingHealth>,
    /// Values that responses cannot represent.
    pub odd: Examined<OddValues>,
    /// Whether its vectors match its texts; `None` for tables of another model.
    pub recognised: Examined<Option<EmbeddingComparison>>,
}

/// Searches for the ten nearest rows of sample rows, excluding the sample row itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredSearches {
    /// Number of searches with results.
    pub sampled: u32,
    /// Number of skipped searches, whose vectors have no finite distance, such as zero vectors.
    pub without_distance: u32,
    /// Median time of an exact scan.
    pub exact_ms: f64,
    /// Results of index scans; `None` without an index.
    pub by_index: Option<IndexScanResult>,
}

/// Results of index scans with the current search parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IndexScanResult {
    /// The index.
    pub index: String,
    /// `ivfflat.probes` or `hnsw.ef_search`.
    pub candidates: u32,
    /// Recall@10.
    pub recall: f64,
    /// Lower bound of the recall at 95 % confidence.
    pub recall_low: f64,
    /// Upper bound of the recall at 95 % confidence.
    pub recall_high: f64,
    /// Median time of an index scan.
    pub latency_ms: f64,
}

/// Comparison of vectors with re-embedded texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EmbeddingComparison {
    /// Number of compared rows.
    pub compared: u32,
    /// Number of rows whose vector differs.
    pub foreign: u32,
}

/// A part of the examination, or why it was not examined.
pub type Examined<T> = Result<T, NotExamined>;

/// Why a part was not examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotExamined {
    /// The role lacks a privilege; the statement that grants it.
    Privilege(String),
    /// It took longer than this.
    TooSlow(Duration),
    /// The table has other columns.
    Misfit,
    /// The model's files are not on this machine.
    NoModel,
}

/// Who installed the examined server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerOrigin {
    /// The user.
    External,
    /// Panopticon: it is the embedded server, with the pgvector that Panopticon brings.
    Embedded,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// The stable name of its kind.
    pub code: &'static str,
    /// The affected table; `None` for the server.
    pub table: Option<String>,
    /// The problem and its consequence, without a final full stop.
    pub what: String,
    /// The fix.
    pub remedy: Remedy,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Data may be lost, searches return wrong results, or something does not work at all.
    Error,
    /// Searches miss rows, or something takes unnecessary time or space.
    Warning,
    /// Informational.
    Note,
}

/// The fix of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A command of a shell.
    Command(String),
    /// Statements for PostgreSQL, to be executed separately.
    Sql(Vec<String>),
    /// An instruction that no single command covers.
    Advice(String),
    /// An instruction for each of some rows.
    ForRows {
        /// The instruction.
        advice: String,
        /// The statement that lists them.
        select: String,
    },
}

impl ServerOrigin {
    /// Replaces the fixes that do not apply to such a server.
    pub fn adapt(self, findings: &mut [Finding]) {
        if self == Self::External {
            return;
        }
        // Its pgvector is ours: there is no package to upgrade.
        let is_about_package =
            |code| matches!(code, "pgvector_absent" | "pgvector_too_old" | "pgvector_outdated");
        for finding in findings.iter_mut().filter(|finding| is_about_package(finding.code)) {
            finding.remedy = Remedy::Advice(
                "upgrade panopticon, which brings the pgvector of its embedded server".to_owned(),
            );
        }
    }
}

impl Severity {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for NotExamined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privilege(_) => f.write_str("the role may not read it"),
            Self::TooSlow(limit) => write!(f, "it took longer than {} seconds", limit.as_secs()),
            Self::Misfit => f.write_str("the table does not have the expected columns"),
            Self::NoModel => f.write_str("the model is not on this machine"),
        }
    }
}
