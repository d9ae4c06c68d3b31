//! What a read yields.

use std::fmt;

use records::{Embedding, Metadata};

use crate::warning::Warning;

/// One record of a collection, as Chroma would return it, with the best vector that is left of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The user's id.
    pub id: String,
    /// The document; an empty document is `Some("")`.
    pub document: Option<String>,
    /// The URI.
    pub uri: Option<String>,
    /// The user's metadata, without Chroma's own `chroma:` keys.
    pub metadata: Metadata,
    /// The vector, or why there is none.
    pub vector: Vector,
    /// When Chroma first stored the record.
    pub created_at: Option<CreatedAt>,
    /// Where the fields above do not say all that is stored. Empty for nearly every record there is.
    pub problems: Vec<Problem>,
}

/// The vector of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// The vector was found.
    Present {
        /// Its components, `[dimension]`.
        embedding: Embedding,
        /// Where it was found, which says how exact it is.
        origin: Origin,
    },
    /// The record has no vector any more.
    Missing {
        /// Why not.
        reason: MissingReason,
    },
}

/// Where a vector was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In the write-ahead log, or in the table of Chroma 0.3, which needs no log: what the client sent, bit for bit
    /// unless it sent more than single precision (`vector_rounded` counts these).
    Log,
    /// In the HNSW index of an `l2` or `ip` collection: bit for bit what the client sent.
    Hnsw,
    /// In the HNSW index of a `cosine` collection: unit vector times length, bit for bit what Chroma returns
    /// and within 2 ulp of what the client sent.
    HnswRounded,
    /// In an HNSW index that has lost the list of its ids: which vector is whose was worked out from the order in
    /// which Chroma ≥ 1.0 stores both (FORMAT §7). As exact as the index.
    Salvaged,
}

/// Why a record has no vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissingReason {
    /// Neither the log nor the index has one.
    NotStored,
    /// The log says that the id was deleted after its last vector, and the record was made again without one.
    DeletedInLog,
    /// The log has none and the index, which may have had it, is lost or truncated.
    IndexLost,
    /// The log row's vector is not `FLOAT32` bytes, and the index has none; or the list of Chroma 0.3 has components
    /// that are null or beyond single precision.
    Undecodable,
    /// A server has the record and fails whenever it is asked for the vector.
    NotReturned,
}

/// A time in UTC as SQLite writes it, `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreatedAt([u8; 19]);

/// Something about a record that its fields cannot express; nothing is lost without one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which part of the record.
    pub field: Field,
    /// What is the matter with it.
    pub kind: ProblemKind,
    /// The stored bytes; of a value in JSON (a log row, or metadata of Chroma 0.3), the whole JSON; of a part that a
    /// server does not return, the server's words. Lone surrogates are WTF-8.
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
    /// The name of a metadata key; the payload is the name as the record has it.
    MetadataKey(String),
    /// The value of this metadata key.
    Metadata(String),
    /// All that the log row of this sequence number wrote.
    LogRow(i64),
    /// All of the metadata.
    AllMetadata,
}

/// What is the matter with a part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// Text that is not Unicode; the record has U+FFFD in its place.
    NotUnicode,
    /// A value of no metadata type; the record does not have the key.
    NotRepresentable,
    /// Metadata that is not a JSON object, of a log row or of Chroma 0.3; the record is without it.
    NotJson,
    /// A server fails whenever it is asked for this part; the record is without it.
    NotReturned,
}

/// What a read found, once it has ended.
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
    /// Records that the source counts beyond those visited, of a read that came to its end.
    pub unread: u64,
    /// Whether the read came to the end, rather than being stopped by its visitor.
    pub complete: bool,
    /// What was odd.
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

    /// Accepts the shape that SQLite's CURRENT_TIMESTAMP has, and no other.
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

/// Takes each record of a read; breaking ends it.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(Record) -> std::ops::ControlFlow<()>;
