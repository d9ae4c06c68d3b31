//! Errors that prevent reading a directory or a collection. Problems that do not are a [`Warning`](crate::Warning).

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
    /// `chroma.sqlite3` does not begin like an SQLite database.
    #[error("expected an SQLite database at `{}`, found {found}", path.display())]
    NotSqlite {
        /// The database file.
        path: PathBuf,
        /// What its first bytes are.
        found: &'static str,
    },
    /// A file of the directory is a symbolic link, a pipe or another special file, which may refer to outside of it.
    #[error("expected a regular file at `{}`, found another kind (links are not followed)", path.display())]
    NotRegularFile {
        /// The file.
        path: PathBuf,
    },
    /// The directory of an index is a symbolic link or a file.
    #[error("expected a folder at `{}`, found another kind (links are not followed)", path.display())]
    NotFolder {
        /// The folder.
        path: PathBuf,
    },
    /// An operating system error on a file.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The writer kept changing the database and its journal while they were being copied.
    #[error("failed to copy `{}` consistently: it changed during each of {attempts} attempts. Stop the process that writes to it", path.display())]
    CopyUnstable {
        /// The database file.
        path: PathBuf,
        /// The number of attempts.
        attempts: u32,
    },
    /// The journal of a crashed writer belongs to a transaction over several databases, and names a file outside.
    #[error("expected `{}` to be the journal of one database, found the name of another file at byte {offset}", path.display())]
    SuperJournal {
        /// The journal.
        path: PathBuf,
        /// Offset of the marker of such a journal.
        offset: u64,
    },
    /// SQLite failed to execute a statement, for example because the database file is damaged.
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
    /// A parquet file of Chroma 0.3 is damaged, or not one of Chroma's.
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
    /// A table or column that every supported version has is missing.
    #[error("expected {missing} in `{}`, found none: not a database of Chroma 0.4 to 1.5", path.display())]
    MissingSchema {
        /// `table `x`` or `column `x.y``.
        missing: String,
        /// The database file.
        path: PathBuf,
    },
    /// The schema differs from Chroma's, so that SQLite would sort a table in memory.
    #[error("expected Chroma's tables and indexes in `{}`, found a schema for which SQLite would {found}", path.display())]
    UnexpectedSchema {
        /// The step of SQLite's `explain query plan`.
        found: String,
        /// The database file.
        path: PathBuf,
    },
    /// The collection belongs to another directory.
    #[error("collection `{id}` is not in `{}`", path.display())]
    ForeignCollection {
        /// Its id.
        id: Uuid,
        /// The directory that should have read it.
        path: PathBuf,
    },
}

impl Error {
    /// Whether SQLite found the database file to be corrupt.
    pub fn is_damaged_database(&self) -> bool {
        matches!(self.sqlite_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    /// Whether a writer held the lock for longer than the busy timeout.
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
