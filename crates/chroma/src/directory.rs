//! An open persist directory of any version: its collections, its oddities, and the way into its records.

use std::{
    io::{self, ErrorKind},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    collection::Collection,
    database::{DATABASE, Database},
    error::Error,
    overview::Overview,
    parquet::{self, ParquetDirectory},
    record::{ReadReport, Record},
    warning::{Warning, WarningCode},
};

/// An open persist directory.
///
/// Since Chroma 0.4: one consistent snapshot of its database, and the index files beside it. While it is open, a
/// live Chroma on the same directory can read but its commits wait. Nothing in the directory is written. Keep at
/// most one open per directory and process if a writer is alive.
///
/// Of Chroma 0.3: its two parquet files. Nothing keeps its writer from writing them anew, but a read says so.
pub struct PersistDirectory {
    path: PathBuf,
    form: Form,
    collections: Vec<Collection>,
    warnings: Vec<Warning>,
}

/// How Chroma stores records here.
enum Form {
    /// `chroma.sqlite3` and index files, since 0.4.
    Database(Box<Database>),
    /// Two parquet files, in 0.3.
    Parquet(Box<ParquetDirectory>),
}

impl PersistDirectory {
    /// Opens the directory, takes a snapshot and lists its collections. Scans the owner columns of records and
    /// log rows once; where there are parquet files, one vector of each collection too.
    ///
    /// # Errors
    ///
    /// If there is neither a database nor a parquet file ([`Error::NoDatabase`]); if the database is not SQLite, is
    /// damaged, or without Chroma's tables; if a parquet file is damaged or without Chroma's columns; if the file
    /// system refuses to show or read them, or to hold the copy that a hot journal or WAL mode needs.
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
                "files of Chroma 0.3 lie beside the database; Chroma ignores them and so does this reader";
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

    /// What is odd about the directory as a whole: leftovers of dropped collections, a recovered journal.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Its kind, size and version, the state of its log, and what no collection owns.
    ///
    /// # Errors
    ///
    /// If SQLite cannot read the schema or the log's configuration, or the file system does not tell a size.
    pub fn overview(&self) -> Result<Overview, Error> {
        match &self.form {
            Form::Database(database) => database.overview(),
            Form::Parquet(files) => files.overview(),
        }
    }

    /// How many records [`read`](Self::read) will visit. Exact, and cheap unless the log has many rows that were
    /// never applied.
    ///
    /// # Errors
    ///
    /// If the collection is not of this directory, or SQLite cannot read the log.
    pub fn record_count(&self, collection: &Collection) -> Result<u64, Error> {
        match &self.form {
            Form::Database(database) => database.record_count(database.own(collection)?),
            Form::Parquet(files) => files.record_count(collection),
        }
    }

    /// Visits every record of a collection: first those of the metadata segment in the order of their rows, then
    /// those that only the log has, in the log's order; those of a parquet file in the order of its rows. Breaking
    /// ends the read early.
    ///
    /// # Errors
    ///
    /// If the collection is not of this directory, or if SQLite cannot read the database or the file of the records
    /// is damaged. A lost or damaged index is no error: its records come without vectors and the report says why.
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
