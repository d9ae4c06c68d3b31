//! Persist directories of Chroma ≥ 0.4: `chroma.sqlite3` with records, metadata and log, and index files next to it.

mod catalog;
mod cursor;
mod inaccessible;
mod index;
mod log;
mod orphans;
mod overview;
mod read;
mod runs;
mod salvage;
mod schema;
mod seq_id;
mod snapshot;
mod space;
mod statements;
mod vector;
mod version;

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use rusqlite::types::ValueRef;
use uuid::Uuid;

use crate::{
    collection::{Collection, EmptyDatabase},
    error::Error,
    record::{ReadReport, Visit},
    warning::{Tally, Warning, WarningCode},
};
use catalog::{Catalog, StoredCollection};
use index::SegmentIndex;
use log::{LogIndex, Operation, Segments};
use read::Reader;
use runs::{Runs, RunsBuilder};
pub(crate) use snapshot::DATABASE;
use snapshot::{Snapshot, corrupt};

/// The open database of a persist directory.
pub(crate) struct Database {
    path: PathBuf,
    /// The directory; index files are opened relative to it.
    root: File,
    snapshot: Snapshot,
    /// Segment directories, by id.
    segment_directories: Vec<Uuid>,
    /// Rows of `embeddings` by segment.
    record_runs: HashMap<Box<[u8]>, Runs>,
    /// Rows of the log by collection.
    log_runs: HashMap<Box<[u8]>, Runs>,
    pub(crate) collections: Vec<StoredCollection>,
    pub(crate) empty_databases: Vec<EmptyDatabase>,
    /// Indexes into `collections`.
    positions: HashMap<Uuid, usize>,
}

impl Database {
    /// Opens the directory, takes a snapshot and lists its collections; also returns warnings about the directory.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Warning>), Error> {
        let io_error = |operation| move |source| Error::Io { operation, path: path.to_owned(), source };
        let segment_directories = segment_directories(path).map_err(io_error("list"))?;
        let root = File::open(path).map_err(io_error("open"))?;
        let snapshot = Snapshot::open(path)?;
        let Catalog { collections, empty_databases, mut warnings } = catalog::read(&snapshot)?;
        let record_runs = runs(&snapshot, "the records", statements::RECORD_OWNERS, |owner| match owner {
            ValueRef::Text(owner) | ValueRef::Blob(owner) => Some(owner),
            _ => None,
        })?;
        let log_runs = runs(&snapshot, "the log", statements::LOG_OWNERS, log::topic_collection)?;
        if snapshot.is_private_copy() {
            let message = "the database was left in the middle of a transaction or is in WAL mode; reading a private copy";
            warnings.push(Warning::new(WarningCode::JournalRecovered, message));
        }
        let positions = collections.iter().map(|stored| stored.collection.id).zip(0..).collect();
        let database = Self {
            path: path.to_owned(),
            root,
            snapshot,
            segment_directories,
            record_runs,
            log_runs,
            collections,
            empty_databases,
            positions,
        };
        warnings.extend(database.orphans().warnings());
        Ok((database, warnings))
    }

    /// The stored data of a listed collection.
    pub(crate) fn own(&self, collection: &Collection) -> Result<&StoredCollection, Error> {
        let own = self.positions.get(&collection.id).and_then(|position| self.collections.get(*position));
        own.ok_or_else(|| Error::ForeignCollection { id: collection.id, path: self.path.clone() })
    }

    pub(crate) fn record_count(&self, stored: &StoredCollection) -> Result<u64, Error> {
        self.snapshot.begin_operation();
        let segment = stored.metadata_segment.as_ref();
        let applied =
            segment.and_then(|segment| self.record_runs.get(&segment.key)).map_or(0, |runs| runs.rows);
        let Some(log_runs) = self.log_runs.get(stored.key.as_bytes()) else { return Ok(applied) };
        let mark = segment.and_then(|segment| segment.mark).unwrap_or(-1);
        let mut unapplied: HashMap<Box<[u8]>, Vec<Operation>> = HashMap::new();
        log::scan(&self.snapshot, &stored.key, log_runs.after(mark), &mut Tally::default(), |row| {
            unapplied.entry(row.id.into()).or_default().push(row.operation);
        })?;
        let mut count = applied;
        for (id, operations) in unapplied {
            let existed = self.record_exists(stored, &id)?;
            match (existed, log::exists_after(existed, operations)) {
                (false, true) => count += 1,
                (true, false) => count = count.saturating_sub(1),
                _ => {}
            }
        }
        Ok(count)
    }

    /// Scans the collection's log, given the state of its index.
    fn walk_log(
        &self,
        stored: &StoredCollection,
        index: &SegmentIndex,
        tally: &mut Tally,
    ) -> Result<LogIndex, Error> {
        let empty = Runs::default();
        let runs = self.log_runs.get(stored.key.as_bytes()).unwrap_or(&empty);
        let segments = Segments {
            metadata_mark: stored.metadata_segment.as_ref().and_then(|segment| segment.mark).unwrap_or(-1),
            index_mark: index.mark,
            index_is_lost: index.is_lost,
            index_contains: &|id| index.index.as_ref().is_some_and(|index| index.contains(id)),
        };
        log::index(&self.snapshot, &stored.key, runs, &segments, tally)
    }

    pub(crate) fn read(&self, stored: &StoredCollection, visit: Visit<'_>) -> Result<ReadReport, Error> {
        self.snapshot.begin_operation();
        Reader::new(self, stored)?.run(visit)
    }

    fn record_exists(&self, stored: &StoredCollection, id: &[u8]) -> Result<bool, Error> {
        let Some(segment) = &stored.metadata_segment else { return Ok(false) };
        let mut statement = self
            .snapshot
            .connection
            .prepare_cached(statements::RECORD_EXISTS)
            .map_err(self.snapshot.error("a record"))?;
        let parameters =
            [&segment.key, id].map(|bytes| rusqlite::types::ToSqlOutput::Borrowed(ValueRef::Text(bytes)));
        statement.exists(parameters).map_err(self.snapshot.error("a record"))
    }
}

/// The ids of segment directories, which are their names.
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
        let mut last = None;
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            // In a corrupt file pages may link back to earlier pages, which repeats rows. This scan visits all pages of
            // the table, so that later reads can rely on the order of the rows.
            if last.replace(key).is_some_and(|last| last >= key) {
                return Err(corrupt("expected rows in the order of their numbers, found another"));
            }
            // A row without an owner is an orphan with an empty owner.
            builder.push(key, owner(row.get_ref(1)?).unwrap_or_default());
        }
        Ok(builder.build())
    };
    scan().map_err(snapshot.error(subject))
}
