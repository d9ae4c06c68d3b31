//! An overview of a directory, known without reading its records.

use uuid::Uuid;

/// The kind and size of a directory, and the version of Chroma that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// The storage format.
    pub kind: Kind,
    /// The versions of Chroma that leave a directory in this state.
    pub version: VersionRange,
    /// Size of the files that may be read: the database with its journals, and the header, elements, lengths and ids
    /// of each index.
    ///
    /// Excludes `link_lists.bin`, which is not needed: a torn one may have a size of hundreds of GiB that it does not
    /// occupy on disk.
    pub size_bytes: u64,
    /// The write-ahead log.
    pub log: LogOverview,
    /// Remains of dropped collections.
    pub orphans: Orphans,
}

/// Counts of what dropped collections left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Index directories without a collection, ordered by id.
    pub segment_directories: Vec<Uuid>,
    /// Segments without a collection that have records.
    pub segments: u64,
    /// Records of such segments.
    pub records: u64,
    /// Missing collections to which log rows refer.
    pub topics: u64,
    /// Log rows that refer to them.
    pub log_rows: u64,
}

/// The storage format of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `chroma.sqlite3` and HNSW files, since 0.4.
    Sqlite,
    /// Two parquet files, in 0.3.
    Parquet,
}

/// The version of Chroma that last opened a directory and migrated it. No version is stored, so it is deduced from
/// tables and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest release with all features of the directory.
    pub min: &'static str,
    /// The newest known release that leaves it so; `None` if it contains unknown migrations, so that it must be from a
    /// newer Chroma.
    pub max: Option<&'static str>,
}

/// The state of the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOverview {
    /// Number of rows, of all collections.
    pub rows: u64,
    /// Whether Chroma deletes rows that were applied to index and tables. `None` if the configuration cannot be
    /// parsed. Versions without a configuration never purge.
    pub auto_purge: Option<bool>,
    /// Whether a writer crashed during a transaction, so that a private copy was rolled back. False in WAL mode, which
    /// also requires a copy.
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
