//! What a vector index is: its kind, and what it keeps of a vector.

use std::fmt;

/// What kind of index, and how large its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Rows in lists, each around the mean of its rows; a search looks into the nearest `ivfflat.probes` of them.
    Ivfflat {
        /// Number of lists.
        lists: u32,
    },
    /// A graph of neighbours; a search walks it with `hnsw.ef_search` candidates in hand.
    Hnsw {
        /// Neighbours of a row in each layer but the lowest, which has twice as many.
        m: u32,
        /// Candidates in hand while a row is put in.
        ef_construction: u32,
    },
}

/// What an index keeps of each component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, as the rows have.
    Full,
    /// 16 bits: half the size, and dimensions up to 4,000. Nearly equal distances may change places.
    Half,
}

/// What an index is, but for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Its kind.
    pub kind: IndexKind,
    /// Its precision.
    pub precision: Precision,
}

impl fmt::Display for IndexDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            IndexKind::Ivfflat { lists } => write!(f, "ivfflat with {lists} lists")?,
            IndexKind::Hnsw { m, ef_construction } => {
                write!(f, "hnsw with m {m}, ef_construction {ef_construction}")?;
            }
        }
        match self.precision {
            Precision::Full => Ok(()),
            Precision::Half => f.write_str(", in half precision"),
        }
    }
}

impl IndexKind {
    /// `ivfflat` or `hnsw`.
    pub fn method(self) -> &'static str {
        match self {
            Self::Ivfflat { .. } => "ivfflat",
            Self::Hnsw { .. } => "hnsw",
        }
    }
}

impl Precision {
    /// Components from here on have no finite value in half precision: 65,504 is the last, and this rounds up.
    pub(crate) const HALF_LIMIT: f32 = 65_520.0;

    /// Whether it can hold every component of `vector`.
    pub fn holds(self, vector: &[f32]) -> bool {
        self == Self::Full || vector.iter().all(|component| component.abs() < Self::HALF_LIMIT)
    }

    /// How many rows a search for `limit` takes from the index, to sort them by their true distance.
    pub(crate) fn taken(self, limit: u32) -> u32 {
        match self {
            Self::Full => limit,
            Self::Half => limit.saturating_mul(2),
        }
    }
}
