//! Warnings: problems that do not stop a read, each with a stable code.

use std::{collections::BTreeMap, fmt};

/// How many examples a counted warning names.
const EXAMPLES: usize = 3;

/// A problem of a directory, a collection or a read that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The kind of problem; stable, for programs.
    pub code: WarningCode,
    /// The problem with its subjects and numbers, for people.
    pub message: String,
}

macro_rules! warning_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The kinds of problems.
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
    /// A writer crashed during a transaction; a private copy was rolled back.
    JournalRecovered = "journal_recovered",
    /// The directory also contains parquet files of Chroma 0.3; Chroma ≥ 0.4 ignores them, and so does this reader.
    ParquetIgnored = "parquet_ignored",
    /// Directories of HNSW segments that belong to no collection, left by dropped collections.
    OrphanSegmentDirectories = "orphan_segment_directories",
    /// Records that belong to no collection: left in `embeddings` by dropped collections, or in the parquet file of
    /// a directory whose list of collections is missing or older.
    OrphanRecords = "orphan_records",
    /// Rows of the log whose collection does not exist.
    OrphanLogRows = "orphan_log_rows",
    /// A row of the collections with an invalid id; it is skipped.
    CollectionUnreadable = "collection_unreadable",
    /// A name is not valid UTF-8; it is shown with replacement characters.
    NameNotUtf8 = "name_not_utf8",
    /// The collection's database is not in `databases`.
    DatabaseUnknown = "database_unknown",
    /// A collection without its VECTOR or METADATA segment (half created).
    SegmentMissing = "segment_missing",
    /// More than one segment of one scope; the first is read.
    SegmentAmbiguous = "segment_ambiguous",
    /// The collection's own metadata, or its vectors, contradict the distance space of the index.
    SpaceConflict = "space_conflict",
    /// A distance space that Chroma does not have.
    SpaceUnknown = "space_unknown",
    /// A configuration or metadata of a collection that is not JSON, or contains values that cannot be represented.
    ConfigurationUnreadable = "configuration_unreadable",
    /// An invalid sequence number in `max_seq_id`; it is treated as missing.
    MarkUnreadable = "mark_unreadable",
    /// The index was flushed and cannot be read; only vectors that are still in the log are available.
    IndexLost = "index_lost",
    /// The list of ids of the index is lost; its vectors were matched to ids by the order of both.
    IndexSalvaged = "index_salvaged",
    /// The index files have fewer elements than they should.
    IndexTruncated = "index_truncated",
    /// The index files contradict each other (labels, deletion flags).
    IndexInconsistent = "index_inconsistent",
    /// The index files changed between opening the directory and the end of the read.
    IndexChanged = "index_changed",
    /// Index and log differ in a vector that the index should have from the log; the log's was used.
    IndexContradictsLog = "index_contradicts_log",
    /// Vectors of the index whose ids have no record.
    VectorWithoutRecord = "vector_without_record",
    /// The parquet files of Chroma 0.3 changed between opening the directory and the end of the read.
    ParquetChanged = "parquet_changed",
    /// The list of collections of Chroma 0.3 is missing or damaged; collections are derived from their records.
    CollectionsLost = "collections_lost",
    /// The file of records is missing.
    EmbeddingsAbsent = "embeddings_absent",
    /// Records of one collection that share an id, which Chroma 0.3 did not always prevent.
    DuplicateIds = "duplicate_ids",
    /// Vectors that were stored in double precision, and were rounded to single precision.
    VectorRounded = "vector_rounded",
    /// Stored vectors that single precision cannot represent: null or too large components.
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
    /// Records with text that is not Unicode, or with values that cannot be represented.
    RecordProblem = "record_problem",
    /// A server's collection changed while it was read, or its pages and its count disagree.
    SourceChanged = "source_changed",
    /// A server cannot list its databases: those that were not named were not read.
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
    /// A warning of the kind `code`.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Counts problems of records, so that a million of one kind result in one warning.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<(WarningCode, &'static str), (u64, Vec<String>)>);

impl Tally {
    /// Counts one more case of `code`; `what` follows the count and precedes the examples in the message.
    pub fn add(&mut self, code: WarningCode, what: &'static str, subject: &[u8]) {
        let (count, examples) = self.0.entry((code, what)).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(String::from_utf8_lossy(subject).chars().take(80).collect());
        }
    }

    /// One warning for each kind of problem.
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
