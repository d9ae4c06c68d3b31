//! Records, and the report of a read.

use std::fmt;

use records::{Embedding, Metadata};

use crate::warning::Warning;

/// One record of a collection, as Chroma would return it, with the best vector that is available.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The document; an empty document is `Some("")`.
    pub document: Option<String>,
    /// The URI.
    pub uri: Option<String>,
    /// The metadata, without Chroma's own `chroma:` keys.
    pub metadata: Metadata,
    /// The vector, or why it is missing.
    pub vector: Vector,
    /// When Chroma first stored the record.
    pub created_at: Option<CreatedAt>,
    /// Stored values that the fields above cannot represent. Empty for nearly all records.
    pub problems: Vec<Problem>,
}

/// The vector of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// The vector was found.
    Present {
        /// Its components, `[dimension]`.
        embedding: Embedding,
        /// Where it was found, which determines its precision.
        origin: Origin,
    },
    /// The record has no vector.
    Missing {
        /// The reason.
        reason: MissingReason,
    },
}

/// Where a vector was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In the write-ahead log, or in the table of Chroma 0.3, which has no log. It is bit for bit what the client sent,
    /// unless that exceeded single precision (`vector_rounded` counts these).
    Log,
    /// In the HNSW index of an `l2` or `ip` collection. It is bit for bit what the client sent.
    Hnsw,
    /// In the HNSW index of a `cosine` collection. It is unit vector times length, bit for bit what Chroma returns and
    /// within 2 ulp of what the client sent.
    HnswRounded,
    /// In an HNSW index that has lost its list of ids. The vector was matched to its id by the order in which
    /// Chroma ≥ 1.0 stores both (FORMAT §7). It is as precise as the index.
    Salvaged,
}

/// Why a record has no vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissingReason {
    /// Neither the log nor the index has one.
    NotStored,
    /// The log deletes the id after its last vector, and then creates the record again without a vector.
    DeletedInLog,
    /// The log has no vector, and the index, which may have had it, is lost or truncated.
    IndexLost,
    /// The log row's vector is not `FLOAT32` bytes and the index has none, or the list of Chroma 0.3 has components
    /// that are null or out of the range of single precision.
    Undecodable,
    /// A server returns the record, but fails on each request for its vector.
    NotReturned,
}

/// A time in UTC as SQLite writes it, `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreatedAt([u8; 19]);

/// A stored value of a record that its fields cannot represent. Each such value is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The part of the record.
    pub field: Field,
    /// The kind of problem.
    pub kind: ProblemKind,
    /// The stored bytes. For a value in JSON (a log row, or metadata of Chroma 0.3), the complete JSON; for a part that
    /// a server does not return, the server's error. Lone surrogates are encoded as WTF-8.
    pub original: Box<[u8]>,
}

/// A part of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The id.
    Id,
    /// The document.
    Document,
    /// The URI.
    Uri,
    /// The name of a metadata key, as in the record.
    MetadataKey(String),
    /// The value of a metadata key.
    Metadata(String),
    /// Everything in the log row of this sequence number.
    LogRow(i64),
    /// All of the metadata.
    AllMetadata,
}

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// Text that is not Unicode; the record has U+FFFD instead.
    NotUnicode,
    /// A value of an unsupported type; the record lacks the key.
    NotRepresentable,
    /// Metadata of a log row or of Chroma 0.3 that is not a JSON object; the record lacks it.
    NotJson,
    /// A server fails on each request for this part; the record lacks it.
    NotReturned,
}

/// The report of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Records visited.
    pub records: u64,
    /// Of these, records whose vector came from the log, or from the table of Chroma 0.3.
    pub from_log: u64,
    /// Of these, records whose vector came from the HNSW index, or from a server, which reads it there.
    pub from_hnsw: u64,
    /// Of these, records whose vector was salvaged from an index without its list of ids.
    pub salvaged: u64,
    /// Of these, records without a vector.
    pub missing: u64,
    /// Records that the source counts in addition to those visited, for a complete read.
    pub unread: u64,
    /// Whether the read reached the end, rather than being stopped by its visitor.
    pub complete: bool,
    /// Problems that were found.
    pub warnings: Vec<Warning>,
}

impl Origin {
    /// The stable name of the origin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Hnsw => "hnsw",
            Self::HnswRounded => "hnsw_rounded",
            Self::Salvaged => "salvaged",
        }
    }
}

impl MissingReason {
    /// The stable name of the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStored => "not_stored",
            Self::DeletedInLog => "deleted_in_log",
            Self::IndexLost => "index_lost",
            Self::Undecodable => "undecodable",
            Self::NotReturned => "not_returned",
        }
    }
}

impl ProblemKind {
    /// The stable name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUnicode => "not_unicode",
            Self::NotRepresentable => "not_representable",
            Self::NotJson => "not_json",
            Self::NotReturned => "not_returned",
        }
    }
}

impl CreatedAt {
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub fn as_str(&self) -> &str {
        // Only ASCII passes `parse`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Accepts the format of SQLite's CURRENT_TIMESTAMP only.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 19] = bytes.try_into().ok()?;
        let fits = bytes.iter().zip(b"0000-00-00 00:00:00").all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            _ => byte == pattern,
        });
        fits.then_some(Self(bytes))
    }
}

impl fmt::Display for CreatedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CreatedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreatedAt({self})")
    }
}

/// A callback for each record of a read; `Break` ends the read.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(Record) -> std::ops::ControlFlow<()>;
