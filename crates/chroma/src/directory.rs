//! An open persist directory of any version: its collections, warnings and records.

use std::{
    io::{self, ErrorKind},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    collection::{Collection, EmptyDatabase},
    database::{DATABASE, Database},
    error::Error,
    overview::Overview,
    parquet::{self, ParquetDirectory},
    record::{ReadReport, Record},
    warning::{Warning, WarningCode},
};

/// An open persist directory.
///
/// Since Chroma 0.4: one consistent snapshot of its database, and the index files next to it. While it is open, a
/// running Chroma can read the same directory, but its commits wait. Nothing in the directory is written. Keep at
/// most one open per directory and process if there is an active writer.
///
/// Chroma 0.3: its two parquet files. A writer can overwrite them at any time, which a read detects and reports.
pub struct PersistDirectory {
    path: PathBuf,
    form: Form,
    collections: Vec<Collection>,
    warnings: Vec<Warning>,
}

/// The storage format.
enum Form {
    /// `chroma.sqlite3` and index files, since 0.4.
    Database(Box<Database>),
    /// Two parquet files, in 0.3.
    Parquet(Box<ParquetDirectory>),
}

impl PersistDirectory {
    /// Opens the directory, takes a snapshot and lists its collections. Scans the owner columns of records and log
    /// rows once, and reads one vector of each collection from parquet files.
    ///
    /// # Errors
    ///
    /// If there is neither a database nor a parquet file ([`Error::NoDatabase`]); if the database is not SQLite, is
    /// damaged, or lacks Chroma's tables; if a parquet file is damaged or lacks Chroma's columns; if files cannot be
    /// accessed; or if the copy that a hot journal or WAL mode requires cannot be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let absent =
            |source: &io::Error| matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        let no_database = || Error::NoDatabase { path: path.to_owned() };
        let io_error =
            |operation, path: &Path, source| Error::Io { operation, path: path.to_owned(), source };
        let found = path.canonicalize().and_then(|root| Ok((root.metadata()?.is_dir(), root)));
        let root = match found {
            Ok((true, root)) => root,
            Ok((false, _)) => return Err(no_database()),
            Err(error) if absent(&error) => return Err(no_database()),
            Err(source) => return Err(io_error("find", path, source)),
        };
        let has = |name: &str| match root.join(name).symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(io_error("look at", &root.join(name), source)),
        };
        let [first, second] = parquet::FILES;
        let has_parquet = has(first)? || has(second)?;
        if !has(DATABASE)? {
            if !has_parquet {
                return Err(no_database());
            }
            let (files, warnings) = ParquetDirectory::open(&root)?;
            let collections = files.collections().cloned().collect();
            let form = Form::Parquet(Box::new(files));
            return Ok(Self { path: path.to_owned(), form, collections, warnings });
        }
        let (database, mut warnings) = Database::open(&root)?;
        if has_parquet {
            let message =
                "the directory also contains parquet files of Chroma 0.3; they are ignored, as by Chroma";
            warnings.push(Warning::new(WarningCode::ParquetIgnored, message));
        }
        let collections = database.collections.iter().map(|stored| stored.collection.clone()).collect();
        let form = Form::Database(Box::new(database));
        Ok(Self { path: path.to_owned(), form, collections, warnings })
    }

    /// All collections, ordered by tenant, database, name and id.
    pub fn collections(&self) -> &[Collection] {
        &self.collections
    }

    /// The databases without collections, and the tenants without databases, in order.
    pub fn empty_databases(&self) -> &[EmptyDatabase] {
        match &self.form {
            Form::Database(database) => &database.empty_databases,
            Form::Parquet(_) => &[],
        }
    }

    /// Problems of the directory as a whole, such as remains of dropped collections or a recovered journal.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Its kind, size and version, the state of its log, and data that belongs to no collection.
    ///
    /// # Errors
    ///
    /// If SQLite cannot read the schema or the log's configuration, or the size of a file cannot be determined.
    pub fn overview(&self) -> Result<Overview, Error> {
        match &self.form {
            Form::Database(database) => database.overview(),
            Form::Parquet(files) => files.overview(),
        }
    }

    /// How many records [`read`](Self::read) will visit. Exact, and cheap unless the log has many unapplied rows.
    ///
    /// # Errors
    ///
    /// If the collection does not belong to this directory, or SQLite cannot read the log.
    pub fn record_count(&self, collection: &Collection) -> Result<u64, Error> {
        match &self.form {
            Form::Database(database) => database.record_count(database.own(collection)?),
            Form::Parquet(files) => files.record_count(collection),
        }
    }

    /// Visits every record of a collection. Records of the metadata segment come first, in the order of their rows,
    /// then those that exist only in the log, in the log's order; records of a parquet file come in the order of its
    /// rows. `Break` ends the read early.
    ///
    /// # Errors
    ///
    /// If the collection does not belong to this directory, SQLite cannot read the database, or the file of records is
    /// damaged. A lost or damaged index is not an error: its records have no vectors, and the report gives the reason.
    pub fn read(
        &self,
        collection: &Collection,
        mut visit: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ReadReport, Error> {
        let mut report = match &self.form {
            Form::Database(database) => database.read(database.own(collection)?, &mut visit),
            Form::Parquet(files) => files.read(collection, &mut visit),
        }?;
        if report.complete {
            report.unread = self.record_count(collection)?.saturating_sub(report.records);
        }
        Ok(report)
    }
}

impl std::fmt::Debug for PersistDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, form: _, collections, warnings } = self;
        f.debug_struct("PersistDirectory")
            .field("path", path)
            .field("collections", collections)
            .field("warnings", warnings)
            .finish_non_exhaustive()
    }
}
