//! What is wrong with a server and the tables on it, and what to do about it.
//!
//! [`examine`] gathers facts and changes nothing; [`diagnose`], a pure function, judges them.

mod diagnose;
mod examine;
mod json;
mod searches;

use std::{fmt, time::Duration};

use store::postgres::{
    EmbeddingHealth, LastSearches, OddValues, ServerFacts, Table, TableFacts, vector_index::Observation,
};

pub use diagnose::diagnose;
pub use examine::{Embed, ExamineError, examine};
pub use json::to_json;

/// A server and our tables on it, as they are.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The server.
    pub server: ServerFacts,
    /// The tables with vectors that are there, by name.
    pub tables: Vec<TableExamination>,
    /// Services' tables that are not there, by name.
    pub absent: Vec<String>,
    /// Whether it is known which tables migrations have made.
    pub collections: Seen<()>,
    /// Values of the judge's results that no answer can show as they are; `None` where there are no results.
    pub results: Seen<Option<OddValues>>,
    /// Times and other values that nothing of ours writes, in the tables that keep what was done.
    pub times: Seen<Vec<OddValues>>,
    /// The tables of ours that hide rows from the role.
    pub hidden: Vec<String>,
}

/// A table as it is.
#[derive(Clone, Debug)]
pub struct TableExamination {
    /// The table as it should be.
    pub table: Table,
    /// What catalog and statistics say.
    pub facts: TableFacts,
    /// What is wrong with its columns. If anything is, the rest is not looked at.
    pub misfits: Vec<String>,
    /// Its vector indexes.
    pub indexes: Seen<Observation>,
    /// What searches did that were made for the purpose; `None` where there is no vector to search for.
    pub searches: Seen<Option<MeasuredSearches>>,
    /// What was kept of earlier searches, by class of filters.
    pub history: Seen<Vec<LastSearches>>,
    /// Its embeddings.
    pub embeddings: Seen<EmbeddingHealth>,
    /// Values that no answer can show as they are.
    pub odd: Seen<OddValues>,
    /// Whether its vectors are those of its texts; `None` of tables whose model is not ours.
    pub recognised: Seen<Option<Recognised>>,
}

/// Searches for some rows of a table, each without itself among the answers, for the ten nearest.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredSearches {
    /// How many were made and had something to find.
    pub sampled: u32,
    /// How many were left out, since no distance from their vector is finite, as from one of zeros.
    pub without_distance: u32,
    /// Median time of one that looks at every row.
    pub exact_ms: f64,
    /// What the index found; `None` where there is none, so that all searches are exact.
    pub by_index: Option<FoundByIndex>,
}

/// What searches by an index found, as searches of the table use it now.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundByIndex {
    /// The index.
    pub index: String,
    /// `ivfflat.probes` or `hnsw.ef_search`.
    pub candidates: u32,
    /// Share of the nearest rows that was found.
    pub recall: f64,
    /// With 95 % confidence the recall is not below it.
    pub recall_low: f64,
    /// Nor above it.
    pub recall_high: f64,
    /// Median time of a search.
    pub latency_ms: f64,
}

/// Texts that were embedded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// How many.
    pub compared: u32,
    /// How many of them have another vector in the table.
    pub foreign: u32,
}

/// What was looked at, or why it was not.
pub type Seen<T> = Result<T, Unseen>;

/// Why something was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The role may not; how it may.
    Privilege(String),
    /// It took longer than this.
    TooSlow(Duration),
    /// The table has other columns.
    Misfit,
    /// The model's files are not on this machine.
    NoModel,
}

/// Something that should be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its kind, by a name that stays the same.
    pub code: &'static str,
    /// The table that it is about; `None` for the server.
    pub table: Option<String>,
    /// What is the case, and what harm it does: sentences without a full stop at the end.
    pub what: String,
    /// What to do about it.
    pub remedy: Remedy,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Data may be lost, searches answer wrongly, or something does not work at all.
    Error,
    /// Searches miss rows, or all takes more time or space than it need.
    Warning,
    /// Good to know.
    Note,
}

/// What to do about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A command of a shell.
    Command(String),
    /// Statements for PostgreSQL, each to be sent by itself.
    Sql(Vec<String>),
    /// Something that no single command does.
    Advice(String),
    /// The same for each of some rows.
    ForRows {
        /// What to do.
        advice: String,
        /// The statement that lists them.
        select: String,
    },
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

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privilege(_) => f.write_str("the role may not read it"),
            Self::TooSlow(limit) => write!(f, "it took longer than {} seconds", limit.as_secs()),
            Self::Misfit => f.write_str("the table has other columns than it should"),
            Self::NoModel => f.write_str("the model is not on this machine"),
        }
    }
}
