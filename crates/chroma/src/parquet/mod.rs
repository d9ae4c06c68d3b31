//! Persist directories of Chroma 0.3: two parquet files written by DuckDB (FORMAT §13). Their index files are derived
//! from these and are not read.

mod collections;
mod column;
mod embeddings;
mod file;
mod footer;
mod page_header;
mod pages;
mod read;
#[cfg(test)]
mod tests;
mod thrift;
mod vector;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::{
    collection::Collection,
    error::Error,
    overview::{Kind, LogOverview, Orphans, Overview, VersionRange},
    record::{ReadReport, Visit},
    warning::{Warning, WarningCode},
};
use collections::{COLLECTIONS, Catalog, StoredCollection};
use embeddings::{EMBEDDINGS, Embeddings, Rows};
use read::Reader;

/// The files of such a directory. Chroma writes both on `persist` and at exit.
pub(crate) const FILES: [&str; 2] = [COLLECTIONS, EMBEDDINGS];

/// How many collections, and how many records of each, a warning about orphan records names.
const ORPHAN_EXAMPLES: usize = 3;
/// Characters of a name in that warning.
const SHOWN_CHARACTERS: usize = 80;

/// The open files of a persist directory.
pub(crate) struct ParquetDirectory {
    path: PathBuf,
    embeddings: Option<Embeddings>,
    collections: Vec<StoredCollection>,
    /// Indexes into `collections`.
    positions: HashMap<Uuid, usize>,
}

impl ParquetDirectory {
    /// Opens the files and lists the collections; also returns warnings about the directory. Reads the owner of each
    /// record, and one vector of each collection.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Warning>), Error> {
        let io_error = |source| Error::Io { operation: "open", path: path.to_owned(), source };
        let root = File::open(path).map_err(io_error)?;
        let embeddings = Embeddings::open(&root, path)?;
        let mut warnings = Vec::new();
        let catalog = match collections::read(&root, path) {
            Ok(catalog) => catalog,
            // The records may be complete, and are what matters.
            Err(Error::Parquet { source, .. }) if embeddings.is_some() => {
                let message = format!("`{COLLECTIONS}` cannot be read: {source}");
                warnings.push(Warning::new(WarningCode::CollectionsLost, message));
                None
            }
            Err(error) => return Err(error),
        };
        let mut warn = |code, message: String| warnings.push(Warning::new(code, message));
        if embeddings.is_none() {
            let message = format!("`{EMBEDDINGS}` is missing, so all collections are empty");
            warn(WarningCode::EmbeddingsAbsent, message);
        }
        let is_changed = embeddings.as_ref().is_some_and(|embeddings| embeddings.file.has_changed())
            || catalog.as_ref().is_some_and(|catalog| catalog.file.has_changed());
        if is_changed {
            let message =
                "the files changed while they were being opened and may be inconsistent; stop the writer";
            warn(WarningCode::ParquetChanged, message.to_owned());
        }
        let mut collections = match catalog {
            Some(Catalog { collections, warnings: odd, file: _ }) => {
                warnings.extend(odd);
                collections
            }
            None => {
                let owners = embeddings.iter().flat_map(Embeddings::owners);
                let mut from_records: Vec<_> =
                    owners.filter_map(|(owner, _)| collections::from_records(owner)).collect();
                from_records.sort_by(|a, b| a.collection.cmp_names(&b.collection));
                from_records
            }
        };
        if let Some(embeddings) = &embeddings {
            let mut dimensions = embeddings.first_dimensions();
            for stored in &mut collections {
                stored.collection.dimension = dimensions.remove(&stored.key);
            }
        }
        let positions = collections.iter().map(|stored| stored.collection.id).zip(0..).collect();
        let directory = Self { path: path.to_owned(), embeddings, collections, positions };
        let orphans = directory.orphans();
        if let Some(embeddings) = directory.embeddings.as_ref().filter(|_| !orphans.is_empty()) {
            warnings.push(orphans_warning(embeddings, orphans));
        }
        Ok((directory, warnings))
    }

    pub(crate) fn overview(&self) -> Result<Overview, Error> {
        let size = |name: &str| match self.path.join(name).symlink_metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::Io { operation: "look at", path: self.path.join(name), source }),
        };
        let mut orphans = Orphans::default();
        for (_, rows) in self.orphans() {
            orphans.segments += 1;
            orphans.records += rows.count;
        }
        Ok(Overview {
            kind: Kind::Parquet,
            version: VersionRange { min: "0.3.0", max: Some("0.3.29") },
            size_bytes: size(COLLECTIONS)?.saturating_add(size(EMBEDDINGS)?),
            // 0.3 has no log.
            log: LogOverview { rows: 0, auto_purge: Some(false), hot_journal: false },
            orphans,
        })
    }

    /// Owners of records that are not collections of the directory.
    fn orphans(&self) -> Vec<(&[u8], &Rows)> {
        let known: HashSet<&[u8]> = self.collections.iter().map(|stored| &*stored.key).collect();
        let owners = self.embeddings.iter().flat_map(Embeddings::owners);
        owners.filter(|(owner, _)| !known.contains(owner)).collect()
    }

    /// All collections, ordered by name and id.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.iter().map(|stored| &stored.collection)
    }

    /// How many records [`read`](Self::read) will visit.
    pub(crate) fn record_count(&self, collection: &Collection) -> Result<u64, Error> {
        let stored = self.own(collection)?;
        let rows = self.embeddings.as_ref().and_then(|embeddings| embeddings.rows(&stored.key));
        Ok(rows.map_or(0, |rows| rows.count))
    }

    /// Visits the collection's records in the order of their rows.
    pub(crate) fn read(&self, collection: &Collection, visit: Visit<'_>) -> Result<ReadReport, Error> {
        let stored = self.own(collection)?;
        match &self.embeddings {
            Some(embeddings) => Reader::new(embeddings, stored).run(visit),
            None => Ok(ReadReport { complete: true, ..ReadReport::default() }),
        }
    }

    /// The stored data of a listed collection.
    fn own(&self, collection: &Collection) -> Result<&StoredCollection, Error> {
        let own = self.positions.get(&collection.id).and_then(|position| self.collections.get(*position));
        own.ok_or_else(|| Error::ForeignCollection { id: collection.id, path: self.path.clone() })
    }
}

/// Warns about records that belong to no collection of the directory: names the collections with the most of them, and
/// some of their records.
fn orphans_warning(embeddings: &Embeddings, mut orphans: Vec<(&[u8], &Rows)>) -> Warning {
    orphans.sort_unstable_by_key(|(owner, rows)| (Reverse(rows.count), *owner));
    let records: u64 = orphans.iter().map(|(_, rows)| rows.count).sum();
    let quoted = |name: &[u8]| {
        let name: String = String::from_utf8_lossy(name).chars().take(SHOWN_CHARACTERS).collect();
        format!("`{name}`")
    };
    let list = |names: &[String], all: u64| {
        format!("{}{}", names.join(", "), if all > names.len() as u64 { ", …" } else { "" })
    };
    let name = |(owner, rows): &(&[u8], &Rows)| {
        let owner = if owner.is_empty() { "no collection id".to_owned() } else { quoted(owner) };
        let ids: Vec<String> =
            embeddings.first_ids(rows, ORPHAN_EXAMPLES).iter().map(|id| quoted(id)).collect();
        format!("{owner} ({}: {})", rows.count, list(&ids, rows.count))
    };
    let examples: Vec<String> = orphans.iter().take(ORPHAN_EXAMPLES).map(name).collect();
    let message = format!(
        "{records} records are not read, because `{COLLECTIONS}` does not list their collection: {}",
        list(&examples, orphans.len() as u64)
    );
    Warning::new(WarningCode::OrphanRecords, message)
}
