//! Why a directory or a collection cannot be read at all. What can be read around is a [`Warning`](crate::Warning).

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;
use uuid::Uuid;

use crate::fault::ParquetFault;

/// Failure of a whole operation on a persist directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path has no `chroma.sqlite3`, and no parquet file of Chroma 0.3.
    #[error("expected a Chroma persist directory with `chroma.sqlite3` (or the parquet files of 0.3) at `{}`, found none", path.display())]
    NoDatabase {
        /// The directory that was given.
        path: PathBuf,
    },
    /// `chroma.sqlite3` does not start as an SQLite database does.
    #[error("expected an SQLite database at `{}`, found {found}", path.display())]
    NotSqlite {
        /// The database file.
        path: PathBuf,
        /// What its first bytes are instead.
        found: &'static str,
    },
    /// A file of the directory is a symbolic link, a pipe, or anything else that may lead outside of it.
    #[error("expected a regular file at `{}`, found another kind (links are not followed)", path.display())]
    NotRegularFile {
        /// The file.
        path: PathBuf,
    },
    /// The folder of an index is a symbolic link or a file.
    #[error("expected a folder at `{}`, found another kind (links are not followed)", path.display())]
    NotFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused an operation on a file.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried: a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The writer kept changing the database and its journal while they were copied.
    #[error("failed to copy `{}` consistently: it changed in each of {attempts} attempts, stop its writer", path.display())]
    CopyUnstable {
        /// The database file.
        path: PathBuf,
        /// How often it was tried.
        attempts: u32,
    },
    /// The journal of a writer that died belongs to a transaction over several databases, and names a file outside.
    #[error("expected `{}` to be the journal of one database, found the name of another file at byte {offset}", path.display())]
    SuperJournal {
        /// The journal.
        path: PathBuf,
        /// Where the mark stands that says so.
        offset: u64,
    },
    /// SQLite refused a statement; a damaged database file ends here.
    #[error("failed to read {subject} from `{}`", path.display())]
    Sqlite {
        /// What was being read: collections, records, log rows, …
        subject: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A parquet file of Chroma 0.3 is damaged, or none of Chroma's.
    #[error("failed to read {subject} from `{}`", path.display())]
    Parquet {
        /// What was being read: the footer, the schema, records, …
        subject: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ParquetFault,
    },
    /// A table or column that every supported version has is absent.
    #[error("expected {missing} in `{}`, found none: not a database of Chroma 0.4 to 1.5", path.display())]
    MissingSchema {
        /// `table `x`` or `column `x.y``.
        missing: String,
        /// The database file.
        path: PathBuf,
    },
    /// A table of the database is declared as Chroma never does, so that it would be sorted in memory.
    #[error("expected the tables and indexes of Chroma in `{}`, found that SQLite would {found}", path.display())]
    OddSchema {
        /// What SQLite would do, in the words of its `explain query plan`.
        found: String,
        /// The database file.
        path: PathBuf,
    },
    /// The collection was listed by another directory.
    #[error("collection `{id}` is not in `{}`", path.display())]
    ForeignCollection {
        /// Its id.
        id: Uuid,
        /// The directory that was asked to read it.
        path: PathBuf,
    },
}

impl Error {
    /// Whether SQLite found that the pages of the database contradict each other.
    pub fn is_damaged_database(&self) -> bool {
        matches!(self.sqlite_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    /// Whether a writer kept SQLite from reading for longer than we wait.
    pub fn is_locked_database(&self) -> bool {
        matches!(self.sqlite_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    fn sqlite_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }
}
