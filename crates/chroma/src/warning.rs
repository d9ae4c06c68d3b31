//! Oddities that do not stop a read, each with a stable code.

use std::{collections::BTreeMap, fmt};

/// How many subjects a counted warning names.
const EXAMPLES: usize = 3;

/// Something the operator should know about a directory, a collection or a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What kind of oddity; stable, to be matched by programs.
    pub code: WarningCode,
    /// The oddity with its subjects and numbers, for people.
    pub message: String,
}

macro_rules! warning_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The kinds of oddity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum WarningCode { $($(#[$doc])* $variant,)* }

        impl WarningCode {
            /// The stable name of the code.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

warning_codes! {
    /// A writer died in a transaction; its private copy was rolled back.
    JournalRecovered = "journal_recovered",
    /// Parquet files of Chroma 0.3 lie beside the database; Chroma ≥ 0.4 ignores them and so do we.
    ParquetIgnored = "parquet_ignored",
    /// Directories of HNSW segments that no collection owns, left by dropped collections.
    OrphanSegmentDirectories = "orphan_segment_directories",
    /// Records that no collection owns: left in `embeddings` by dropped collections, or in the parquet file of a
    /// directory whose list of collections is absent or older.
    OrphanRecords = "orphan_records",
    /// Rows of the log whose collection does not exist.
    OrphanLogRows = "orphan_log_rows",
    /// A row of the collections that cannot be one (its id is no UUID); it is skipped.
    CollectionUnreadable = "collection_unreadable",
    /// A name is not valid UTF-8; it is shown with replacement characters.
    NameNotUtf8 = "name_not_utf8",
    /// The collection's database is not in `databases`.
    DatabaseUnknown = "database_unknown",
    /// A collection without its VECTOR or METADATA segment (half created).
    SegmentMissing = "segment_missing",
    /// More than one segment of one scope; the first is read.
    SegmentAmbiguous = "segment_ambiguous",
    /// The collection's own metadata, or its bytes, contradict the distance space that is in force.
    SpaceConflict = "space_conflict",
    /// A distance space that Chroma does not have.
    SpaceUnknown = "space_unknown",
    /// A configuration or metadata of a collection that is not JSON, or holds what has no place in the model.
    ConfigurationUnreadable = "configuration_unreadable",
    /// A mark in `max_seq_id` that is no sequence number; it is treated as absent.
    MarkUnreadable = "mark_unreadable",
    /// The index was flushed once and cannot be read now; only vectors that the log still has are left.
    IndexLost = "index_lost",
    /// The index has lost its list of ids; its vectors were matched to them by the order of both.
    IndexSalvaged = "index_salvaged",
    /// The index files have fewer elements than they should.
    IndexTruncated = "index_truncated",
    /// Index files that contradict each other (labels, deleted marks).
    IndexInconsistent = "index_inconsistent",
    /// The index files changed between opening the directory and the end of the read.
    IndexChanged = "index_changed",
    /// The index and a log row it should have absorbed differ; the log's vector was taken.
    IndexContradictsLog = "index_contradicts_log",
    /// Vectors of the index whose ids have no record.
    VectorWithoutRecord = "vector_without_record",
    /// The parquet files of Chroma 0.3 changed between opening the directory and the end of the read.
    ParquetChanged = "parquet_changed",
    /// The list of collections of Chroma 0.3 is absent or damaged; collections are made up from their records.
    CollectionsLost = "collections_lost",
    /// There is no file of records beside the list of collections.
    EmbeddingsAbsent = "embeddings_absent",
    /// Records of one collection that share an id, which Chroma 0.3 did not always prevent.
    DuplicateIds = "duplicate_ids",
    /// Vectors that were stored in double precision, and were rounded to single.
    VectorRounded = "vector_rounded",
    /// Stored vectors that are none in single precision: null or too large components.
    VectorUndecodable = "vector_undecodable",
    /// Vectors whose dimension is not the collection's.
    DimensionMismatch = "dimension_mismatch",
    /// Records that have no vector anywhere.
    VectorMissing = "vector_missing",
    /// Log rows whose vector or metadata cannot be decoded, or whose operation is unknown.
    LogRowUnreadable = "log_row_unreadable",
    /// Log rows of ids that have no record and were not deleted: Chroma failed to apply them.
    LogRowUnapplied = "log_row_unapplied",
    /// Metadata keys without a value: NaN, which Chroma since 0.4 cannot store, or null.
    MetadataValueLost = "metadata_value_lost",
    /// Records with text that is not Unicode or values that have no place in the model.
    RecordProblem = "record_problem",
    /// A server's collection changed while it was read, or its pages and its count disagree.
    SourceChanged = "source_changed",
    /// A server cannot list what it has: databases that were not named were not looked at.
    ListingLimited = "listing_limited",
}

impl fmt::Display for WarningCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Warning {
    /// An oddity of the kind `code`, told by `message`.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Counts oddities of records, so that a million of one kind make one warning.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<(WarningCode, &'static str), (u64, Vec<String>)>);

impl Tally {
    /// One more case of `code`; `what` follows the count and precedes the examples in the message.
    pub fn add(&mut self, code: WarningCode, what: &'static str, subject: &[u8]) {
        let (count, examples) = self.0.entry((code, what)).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(String::from_utf8_lossy(subject).chars().take(80).collect());
        }
    }

    /// One warning for each kind of oddity that was added.
    pub fn into_warnings(self) -> impl Iterator<Item = Warning> {
        self.0.into_iter().map(|((code, what), (count, examples))| {
            let more = if count > examples.len() as u64 { ", …" } else { "" };
            Warning::new(code, format!("{count} {what}: `{}`{more}", examples.join("`, `")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_counts_all_and_names_the_first_three() {
        let mut tally = Tally::default();
        for id in ["a", "b", "c", "d"] {
            tally.add(WarningCode::VectorMissing, "records without a vector", id.as_bytes());
        }
        let warnings: Vec<_> = tally.into_warnings().map(|warning| warning.to_string()).collect();
        expect_test::expect!["vector_missing: 4 records without a vector: `a`, `b`, `c`, …"]
            .assert_eq(&warnings.join("\n"));
    }
}
