//! Selections and searches of records.

use std::ops::Range;

use records::Embedding;
use time::PrimitiveDateTime;

use super::{Cursor, DocumentFilter, Filter, Record};
use crate::StoredTime;

/// Selects the records that satisfy all given conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Only this theme or metric type.
    pub category: Option<String>,
    /// Only outputs of this model; for other services, the metadata key `model_id`.
    pub model_id: Option<String>,
    /// A condition on the metadata, including category and `timestamp`.
    pub filter: Option<Filter>,
    /// A condition on the text.
    pub document: Option<DocumentFilter>,
    /// Only records from this time onwards.
    pub from: Option<PrimitiveDateTime>,
    /// Only records before this time.
    pub before: Option<PrimitiveDateTime>,
}

/// Where a list starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this number of the newest records.
    Offset(u64),
    /// After this position.
    After(Cursor),
}

/// A search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The records to search.
    pub selection: Selection,
    /// The search mode.
    pub mode: SearchMode,
    /// Maximum number of hits.
    pub limit: u32,
    /// Only records whose cosine similarity, 1 − distance, is at least this. Not allowed with [`SearchMode::Text`],
    /// which has no similarity.
    pub min_similarity: Option<f64>,
    /// Whether it may use the vector index.
    pub effort: Effort,
}

/// Whether a search may use the vector index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// The vector index where it is faster, which may miss some of the nearest.
    #[default]
    Fast,
    /// An exact scan: recall 1, in time proportional to the selected records.
    Exact,
}

/// How a vector search found its hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scan {
    /// By an exact scan of the selected records.
    Exact,
    /// By the vector index.
    Index,
    /// The index found too few, so an exact scan followed.
    Both,
}

/// How records are found and ranked.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchMode {
    /// By cosine distance to a vector; records without a vector are never returned.
    Vector(Embedding),
    /// By the words of a text, ranked by PostgreSQL's full-text search.
    Text(String),
    /// By both: reciprocal rank fusion.
    Hybrid {
        /// The vector.
        embedding: Embedding,
        /// The text.
        text: String,
    },
}

/// A search result.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The record.
    pub record: Record,
    /// Cosine distance, 0 to 2; `None` for a search by text or a zero vector.
    pub distance: Option<f64>,
    /// Score by which [`SearchMode::Text`] and [`SearchMode::Hybrid`] rank; higher is better.
    pub score: Option<f64>,
}

/// A category and its number of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryCount {
    /// Theme or metric type; `None` for rows of the old services without one.
    pub category: Option<String>,
    /// Number of records.
    pub records: u64,
}

impl Scan {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Index, Self::Both];

    /// Its name, in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Index => "index",
            Self::Both => "both",
        }
    }
}

impl Selection {
    /// Whether every record is selected.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `created_at` is within the time range.
    pub fn has_time(&self, created_at: Option<StoredTime>) -> bool {
        let Range { start, end } = self.from.map(StoredTime::from)..self.before.map(StoredTime::from);
        if start.is_none() && end.is_none() {
            return true;
        }
        created_at
            .is_some_and(|time| start.is_none_or(|start| start <= time) && end.is_none_or(|end| time < end))
    }
}
