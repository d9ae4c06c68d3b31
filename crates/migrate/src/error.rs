//! Errors of migrations.

use std::fmt;

use store::{chroma::SourceError, postgres::jobs::Job};
use uuid::Uuid;

/// A migration failed. Records that cannot be migrated are not errors: they are reported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Chroma data cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The read ended early without an error.
    #[error("failed to read collection `{collection}`: it ended early")]
    Incomplete {
        /// The collection.
        collection: String,
    },
    /// Records that could be read during planning no longer can: files were lost or replaced.
    #[error(
        "collection `{collection}` changed while it was read: {records} records could be migrated before \
            and cannot be now; check that the source is complete and that nothing writes to it, then run again"
    )]
    SourceChanged {
        /// The collection.
        collection: String,
        /// Number of records.
        records: usize,
    },
    /// A database operation on a table failed.
    #[error("failed to {operation} table `{table}`")]
    Store {
        /// The operation, as a phrase that precedes the name of the table.
        operation: &'static str,
        /// The table.
        table: String,
        /// The cause.
        source: Box<store::Error>,
    },
    /// A database operation failed.
    #[error(transparent)]
    Database(Box<store::Error>),
    /// Another migration is unfinished.
    #[error("run {} of {} into table `{}` is not finished: finish it with the command that began it", .0.run_id, JobOrigin(.0), .0.table_name)]
    Unfinished(Box<Job>),
    /// The table already contains the collection, with other columns.
    #[error("run {} migrated {} into table `{}` with other columns", .0.run_id, JobOrigin(.0), .0.table_name)]
    OtherMapping(Box<Job>),
    /// Clients would see the records of two collections as those of one.
    #[error(
        "table `{table}` holds the records of collection `{collection}`, which Chroma clients see, and they would see those \
            of another collection as its own: use another table"
    )]
    Served {
        /// The table.
        table: String,
        /// The collection that has the table.
        collection: String,
    },
    /// Another collection's records have the same ids.
    #[error("table `{table}` contains records of another collection with the same ids, {} such as `{}`: use \
        a separate table for this one", .count, .example)]
    Overlap {
        /// The table.
        table: String,
        /// How many ids.
        count: u64,
        /// One of them.
        example: String,
    },
    /// The vectors have more dimensions than pgvector supports.
    #[error(
        "collection `{collection}` has vectors of {dimension} dimensions: pgvector holds up to {MAX_DIMENSION}"
    )]
    Dimension {
        /// The collection.
        collection: String,
        /// Its dimension.
        dimension: usize,
    },
    /// Texts without a vector could not be embedded.
    #[error("failed to embed the text of record `{source_id}`")]
    Embed {
        /// ChromaDB's id.
        source_id: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The run to undo does not exist.
    #[error("unknown run {run}: {}", Known(.known))]
    UnknownRun {
        /// The requested run.
        run: Uuid,
        /// The runs that can be undone.
        known: Vec<Uuid>,
    },
    /// The run was already undone.
    #[error("run {run} was already undone")]
    AlreadyUndone {
        /// The requested run.
        run: Uuid,
    },
    /// Later runs changed rows of this run.
    #[error("run {run} cannot be undone before later ones that changed its rows: undo {} first", List(.later))]
    LaterRuns {
        /// The requested run.
        run: Uuid,
        /// Those to undo first, in this order.
        later: Vec<Uuid>,
    },
    /// A job's row is invalid.
    #[error(
        "run {run} cannot be undone or continued: its row in `migration_jobs` was changed, or written by a \
            newer version of Panopticon: {problem}. correct the row, which `panopticon doctor` lists"
    )]
    Damaged {
        /// The run.
        run: Uuid,
        /// The problem.
        problem: String,
    },
    /// A job was written by a newer version.
    #[error("run {run} was created by a newer version of Panopticon: use that version")]
    NewerVersion {
        /// The run.
        run: Uuid,
    },
}

/// Maximum dimensions of pgvector's type `vector`.
pub(crate) const MAX_DIMENSION: usize = 16_000;

impl Error {
    /// Names the operation and the table of a store error.
    pub(crate) fn store<'a>(
        operation: &'static str,
        table: &'a str,
    ) -> impl FnOnce(store::Error) -> Self + use<'a> {
        move |source| match source {
            // It names the table itself.
            store::Error::Locked { .. } | store::Error::TakenOver { .. } => source.into(),
            source => Self::Store { operation, table: table.to_owned(), source: Box::new(source) },
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

struct JobOrigin<'a>(&'a Job);

impl fmt::Display for JobOrigin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "collection `{}` of `{}`", self.0.origin.collection, self.0.origin.source)
    }
}

struct List<'a>(&'a [Uuid]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: Vec<String> = self.0.iter().map(Uuid::to_string).collect();
        f.write_str(&runs.join(", "))
    }
}

struct Known<'a>(&'a [Uuid]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("the database has no runs")
        } else {
            write!(f, "expected one of {}", List(self.0))
        }
    }
}
