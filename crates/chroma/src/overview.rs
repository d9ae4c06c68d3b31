//! A directory at a glance, known without reading its records.

use uuid::Uuid;

/// What kind of directory it is, how large, and which Chroma wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// How it stores records.
    pub kind: Kind,
    /// Versions of Chroma that leave a directory as this one is.
    pub version: VersionRange,
    /// Size of what is or may be read: the database with its journals, and per index its header, elements,
    /// lengths and ids.
    ///
    /// Not of `link_lists.bin`, which nobody needs for reading: a torn one claims hundreds of GiB that it does not
    /// have on disk.
    pub size_bytes: u64,
    /// The write-ahead log.
    pub log: LogOverview,
    /// Leftovers of dropped collections.
    pub orphans: Orphans,
}

/// Leftovers of collections that are gone, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Index directories of no collection, in order of their ids.
    pub segment_directories: Vec<Uuid>,
    /// Segments of no collection that records belong to.
    pub segments: u64,
    /// Records of such segments.
    pub records: u64,
    /// Collections that log rows name and that do not exist.
    pub topics: u64,
    /// Log rows that name them.
    pub log_rows: u64,
}

/// How a directory stores records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `chroma.sqlite3` and HNSW files, since 0.4.
    Sqlite,
    /// Two parquet files, in 0.3.
    Parquet,
}

/// The Chroma that last opened a directory, which migrates it: no version is stored, so tables and columns tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest release with all that the directory has.
    pub min: &'static str,
    /// The newest release that leaves it so, as far as this reader knows; `None` if migrations have run that it
    /// does not know, so that the Chroma must be newer.
    pub max: Option<&'static str>,
}

/// The state of the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOverview {
    /// Its rows, of all collections.
    pub rows: u64,
    /// Whether Chroma deletes rows that index and tables have absorbed. `None` if its configuration cannot be
    /// read; versions without one never purge.
    pub auto_purge: Option<bool>,
    /// Whether a writer died in a transaction, so that a private copy was rolled back. Not so in WAL mode, which
    /// needs a copy as well.
    pub hot_journal: bool,
}

impl Kind {
    /// The stable name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Parquet => "parquet",
        }
    }
}
