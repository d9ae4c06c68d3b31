//! An open persist directory: its catalog, its oddities, and the way into its records.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use rusqlite::types::ValueRef;
use uuid::Uuid;

use crate::{
    catalog::{self, Catalog, Collection},
    error::Error,
    hnsw::{self, Stamp},
    log::{self, Operation},
    read::Reader,
    record::{ReadReport, Record},
    runs::{Runs, RunsBuilder},
    snapshot::{self, Snapshot},
    statements,
    warning::{Tally, Warning, WarningCode},
};

/// An open persist directory: one consistent snapshot of its database, and the index files beside it.
///
/// While it is open, a live Chroma on the same directory can read but its commits wait. Nothing in the directory
/// is written. Keep at most one open per directory and process if a writer is alive.
pub struct PersistDirectory {
    pub(crate) path: PathBuf,
    /// The directory itself; index files are opened relative to it.
    pub(crate) root: File,
    pub(crate) snapshot: Snapshot,
    /// Index files as they were before the snapshot was taken.
    pub(crate) stamps: HashMap<Uuid, Stamp>,
    /// Rows of `embeddings` by segment.
    pub(crate) record_runs: HashMap<Box<[u8]>, Runs>,
    /// Rows of the log by collection.
    pub(crate) log_runs: HashMap<Box<[u8]>, Runs>,
    collections: Vec<Collection>,
    warnings: Vec<Warning>,
}

impl PersistDirectory {
    /// Opens the directory, takes a snapshot and lists its collections. Scans the owner columns of records and
    /// log rows once.
    ///
    /// # Errors
    ///
    /// If there is no database ([`Error::NoDatabase`]) or one of Chroma 0.3 ([`Error::Version03`]); if it is not
    /// SQLite, damaged, or without Chroma's tables; if the file system refuses to read it, or to hold the copy
    /// that a hot journal or WAL mode needs.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io_error = |operation| move |source| Error::Io { operation, path: path.to_owned(), source };
        // The files first: what changes after this was written by somebody alive (FORMAT §11).
        let stamps = match segment_directories(path) {
            Ok(ids) => ids.into_iter().map(|id| (id, hnsw::stamp(path, id))).collect(),
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    || error.kind() == std::io::ErrorKind::NotADirectory =>
            {
                return Err(Error::NoDatabase { path: path.to_owned() });
            }
            Err(error) => return Err(io_error("list")(error)),
        };
        let root = File::open(path).map_err(io_error("open"))?;
        let snapshot = Snapshot::open(path)?;
        let Catalog { collections, mut warnings } = catalog::read(&snapshot)?;
        let record_runs = runs(&snapshot, "the records", statements::RECORD_OWNERS, |owner| match owner {
            ValueRef::Text(owner) | ValueRef::Blob(owner) => Some(owner),
            _ => None,
        })?;
        let log_runs = runs(&snapshot, "the log", statements::LOG_OWNERS, log::topic_collection)?;
        if snapshot.is_private_copy() {
            let message = "the database was left in the middle of a transaction or is in WAL mode; a private copy is read";
            warnings.push(Warning::new(WarningCode::JournalRecovered, message));
        }
        if snapshot::has_parquet(path) {
            let message =
                "files of Chroma 0.3 lie beside the database; Chroma ignores them and so does this reader";
            warnings.push(Warning::new(WarningCode::ParquetIgnored, message));
        }
        let mut directory = Self {
            path: path.to_owned(),
            root,
            snapshot,
            stamps,
            record_runs,
            log_runs,
            collections,
            warnings,
        };
        directory.warn_of_orphans();
        Ok(directory)
    }

    /// All collections, ordered by tenant, database, name and id.
    pub fn collections(&self) -> &[Collection] {
        &self.collections
    }

    /// What is odd about the directory as a whole: leftovers of dropped collections, a recovered journal.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many records [`read`](Self::read) will visit. Exact, and cheap unless the log has many rows that were
    /// never applied.
    ///
    /// # Errors
    ///
    /// If the collection is not of this directory, or SQLite cannot read the log.
    pub fn record_count(&self, collection: &Collection) -> Result<u64, Error> {
        self.check_own(collection)?;
        let segment = collection.metadata_segment.as_ref();
        let applied =
            segment.and_then(|segment| self.record_runs.get(&segment.key)).map_or(0, |runs| runs.rows);
        let Some(log_runs) = self.log_runs.get(collection.key.as_bytes()) else { return Ok(applied) };
        let mark = segment.and_then(|segment| segment.mark).unwrap_or(-1);
        let mut unapplied: HashMap<Box<[u8]>, Vec<Operation>> = HashMap::new();
        log::scan(&self.snapshot, &collection.key, log_runs.after(mark), &mut Tally::default(), |row| {
            unapplied.entry(row.id.into()).or_default().push(row.operation);
        })?;
        let mut count = applied;
        for (id, operations) in unapplied {
            let existed = self.record_exists(collection, &id)?;
            match (existed, log::exists_after(existed, operations)) {
                (false, true) => count += 1,
                (true, false) => count = count.saturating_sub(1),
                _ => {}
            }
        }
        Ok(count)
    }

    /// Visits every record of a collection: first those of the metadata segment in the order of their rows, then
    /// those that only the log has, in the log's order. Breaking ends the read early.
    ///
    /// # Errors
    ///
    /// If the collection is not of this directory, or SQLite cannot read the database. A lost or damaged index is
    /// no error: its records come without vectors and the report says why.
    pub fn read(
        &self,
        collection: &Collection,
        mut visit: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ReadReport, Error> {
        self.check_own(collection)?;
        Reader::new(self, collection)?.run(&mut visit)
    }

    fn check_own(&self, collection: &Collection) -> Result<(), Error> {
        let is_own = self.collections.iter().any(|own| own.id == collection.id && own.key == collection.key);
        let foreign = || Error::ForeignCollection { id: collection.id, path: self.path.clone() };
        is_own.then_some(()).ok_or_else(foreign)
    }

    fn record_exists(&self, collection: &Collection, id: &[u8]) -> Result<bool, Error> {
        let Some(segment) = &collection.metadata_segment else { return Ok(false) };
        let mut statement = self
            .snapshot
            .connection
            .prepare_cached(statements::RECORD_EXISTS)
            .map_err(self.snapshot.error("a record"))?;
        let parameters =
            [&segment.key, id].map(|bytes| rusqlite::types::ToSqlOutput::Borrowed(ValueRef::Text(bytes)));
        statement.exists(parameters).map_err(self.snapshot.error("a record"))
    }

    /// Notes what no collection owns (FORMAT §2: dropped collections leave much behind).
    fn warn_of_orphans(&mut self) {
        let of_segments =
            |collection: &Collection| collection.vector_segment.as_ref().map(|segment| segment.id);
        let vector_segments: HashSet<Uuid> = self.collections.iter().filter_map(of_segments).collect();
        let metadata_segments: HashSet<&[u8]> = self
            .collections
            .iter()
            .filter_map(|c| c.metadata_segment.as_ref())
            .map(|segment| &*segment.key)
            .collect();
        let keys: HashSet<&[u8]> =
            self.collections.iter().map(|collection| collection.key.as_bytes()).collect();

        let orphans: Vec<&Uuid> = self.stamps.keys().filter(|id| !vector_segments.contains(id)).collect();
        let count_rows = |runs: &HashMap<Box<[u8]>, Runs>, owners: &HashSet<&[u8]>| {
            let orphans = runs.iter().filter(|(owner, _)| !owners.contains(&***owner));
            orphans.fold((0_u64, 0_u64), |(owners, rows), (_, runs)| (owners + 1, rows + runs.rows))
        };
        let (segments, records) = count_rows(&self.record_runs, &metadata_segments);
        let (topics, log_rows) = count_rows(&self.log_runs, &keys);
        if let Some(example) = orphans.iter().min() {
            let message =
                format!("{} index directories belong to no collection, such as `{example}`", orphans.len());
            self.warnings.push(Warning::new(WarningCode::OrphanSegmentDirectories, message));
        }
        if records > 0 {
            let message = format!("{records} records of {segments} segments belong to no collection");
            self.warnings.push(Warning::new(WarningCode::OrphanRecords, message));
        }
        if log_rows > 0 {
            let message = format!("{log_rows} log rows of {topics} collections that do not exist");
            self.warnings.push(Warning::new(WarningCode::OrphanLogRows, message));
        }
    }
}

impl std::fmt::Debug for PersistDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, collections, warnings, .. } = self;
        f.debug_struct("PersistDirectory")
            .field("path", path)
            .field("collections", collections)
            .field("warnings", warnings)
            .finish_non_exhaustive()
    }
}

/// The ids of entries that are named as segment directories are.
fn segment_directories(path: &Path) -> std::io::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| Uuid::try_parse(name).ok());
        ids.extend(id.filter(|id| id.hyphenated().to_string() == name.to_string_lossy()));
    }
    Ok(ids)
}

/// Scans a table's owner column once.
fn runs(
    snapshot: &Snapshot,
    subject: &'static str,
    sql: &str,
    owner: impl Fn(ValueRef<'_>) -> Option<&[u8]>,
) -> Result<HashMap<Box<[u8]>, Runs>, Error> {
    let scan = || {
        let mut statement = snapshot.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut builder = RunsBuilder::default();
        while let Some(row) = rows.next()? {
            // A row without an owner is an orphan under the empty name.
            builder.push(row.get(0)?, owner(row.get_ref(1)?).unwrap_or_default());
        }
        Ok(builder.build())
    };
    scan().map_err(snapshot.error(subject))
}
