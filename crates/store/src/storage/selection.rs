//! Which records are meant, and what is searched for among them.

use std::ops::Range;

use records::Embedding;
use time::PrimitiveDateTime;

use super::{Cursor, DocumentFilter, Filter, Record};
use crate::StoredTime;

/// Which records are meant: those that satisfy everything that is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Only this theme or metric type.
    pub category: Option<String>,
    /// Only outputs of this model: metadata `model_id` of other services.
    pub model_id: Option<String>,
    /// What the metadata have to satisfy, category and `timestamp` among them.
    pub filter: Option<Filter>,
    /// What the text has to satisfy.
    pub document: Option<DocumentFilter>,
    /// Only records of this time on.
    pub from: Option<PrimitiveDateTime>,
    /// Only records before this time.
    pub before: Option<PrimitiveDateTime>,
}

/// Where a list starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many of the newest.
    Offset(u64),
    /// After this place.
    After(Cursor),
}

/// What to search for.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Among which records.
    pub selection: Selection,
    /// In what way.
    pub mode: SearchMode,
    /// Most hits that are wanted.
    pub limit: u32,
    /// Only records whose cosine similarity, 1 − distance, is at least this. Of [`SearchMode::Text`] no similarity
    /// is known: it is refused there.
    pub min_similarity: Option<f64>,
    /// What it may use to compare vectors.
    pub effort: Effort,
}

/// What a search may use to compare vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// The vector index where it is faster, which may miss some of the nearest.
    #[default]
    Fast,
    /// An exact scan: recall 1, in time proportional to the selected records.
    Exact,
}

/// How a search by vector found its hits.
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
    /// By cosine distance to a vector; records without one are not found.
    Vector(Embedding),
    /// By the words of a text, as PostgreSQL's full text search ranks them.
    Text(String),
    /// By both: reciprocal rank fusion.
    Hybrid {
        /// The vector.
        embedding: Embedding,
        /// The text.
        text: String,
    },
}

/// One answer of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The record.
    pub record: Record,
    /// Cosine distance, 0 to 2; `None` where none was measured: a search by text, or a zero vector.
    pub distance: Option<f64>,
    /// What [`SearchMode::Text`] and [`SearchMode::Hybrid`] rank by, more being better.
    pub score: Option<f64>,
}

/// A category, and how many records have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryCount {
    /// Theme or metric type; `None` of rows without one, as the old services may have left.
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
    /// Whether every record is meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record of `created_at` lies within the times.
    pub fn has_time(&self, created_at: Option<StoredTime>) -> bool {
        let Range { start, end } = self.from.map(StoredTime::from)..self.before.map(StoredTime::from);
        if start.is_none() && end.is_none() {
            return true;
        }
        created_at
            .is_some_and(|time| start.is_none_or(|start| start <= time) && end.is_none_or(|end| time < end))
    }
}
