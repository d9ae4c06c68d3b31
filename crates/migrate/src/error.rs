//! What can stop a migration.

use std::fmt;

use store::{chroma::SourceError, postgres::jobs::Job};
use uuid::Uuid;

/// A migration could not be carried out. Records that cannot be carried over are no errors: they are reported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Chroma data cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The read ended before its end without saying why.
    #[error("failed to read collection `{collection}`: it ended early")]
    Incomplete {
        /// The collection.
        collection: String,
    },
    /// Records that could be carried over when the run was planned no longer can: files were lost or replaced.
    #[error(
        "collection `{collection}` changed while it was read: {records} records could be carried over before and cannot be now; see that the source is whole and left alone, then run again"
    )]
    SourceChanged {
        /// The collection.
        collection: String,
        /// How many.
        records: usize,
    },
    /// The database refused something.
    #[error("failed to {operation} table `{table}`")]
    Store {
        /// What was tried, ending before `table`.
        operation: &'static str,
        /// The table.
        table: String,
        /// Why not.
        source: Box<store::Error>,
    },
    /// The database refused something that concerns no table.
    #[error(transparent)]
    Database(Box<store::Error>),
    /// Another migration has been begun and not finished.
    #[error("run {} of {} into table `{}` is not finished: finish it with the command that began it", .0.run_id, OriginOf(.0), .0.table_name)]
    Unfinished(Box<Job>),
    /// The collection is in the table already, with other columns.
    #[error("run {} brought {} into table `{}` with other columns", .0.run_id, OriginOf(.0), .0.table_name)]
    OtherMapping(Box<Job>),
    /// Another collection's records have the same ids.
    #[error("table `{table}` holds records of another collection with the same ids, {} such as `{}`: give this one a table of its own", .count, .example)]
    Overlap {
        /// The table.
        table: String,
        /// How many ids.
        count: u64,
        /// One of them.
        example: String,
    },
    /// Vectors are of a dimension that pgvector cannot hold.
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
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no run to undo.
    #[error("no run {run} is known in this database{}", Known(.known))]
    UnknownRun {
        /// What was asked for.
        run: Uuid,
        /// The runs that can be undone.
        known: Vec<Uuid>,
    },
    /// Nothing of the run is left to undo.
    #[error("run {run} was already undone")]
    AlreadyUndone {
        /// What was asked for.
        run: Uuid,
    },
    /// Later runs have changed what this one brought.
    #[error("run {run} cannot be undone before later ones that changed its rows: undo {} first", List(.later))]
    LaterRuns {
        /// What was asked for.
        run: Uuid,
        /// Those to undo first, in this order.
        later: Vec<Uuid>,
    },
    /// A job's row is not as we write them.
    #[error(
        "run {run} cannot be undone or continued: its row in `migration_jobs` was changed, or written by a newer version of Panopticon: {problem}. Correct the row, which `panopticon doctor` lists"
    )]
    Damaged {
        /// The run.
        run: Uuid,
        /// What is wrong with it.
        problem: String,
    },
    /// A job was noted by a version that knows more.
    #[error("run {run} was made by a newer version of Panopticon: use that one")]
    NewerVersion {
        /// The run.
        run: Uuid,
    },
}

/// What pgvector's type `vector` holds.
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

struct OriginOf<'a>(&'a Job);

impl fmt::Display for OriginOf<'_> {
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
        if self.0.is_empty() { f.write_str(": it has none") } else { write!(f, ": it has {}", List(self.0)) }
    }
}
