//! The definition of a vector index: its kind and precision.

use std::fmt;

/// The kind of an index and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Lists of rows around their centroids; a search probes the nearest `ivfflat.probes` lists.
    Ivfflat {
        /// Number of lists.
        lists: u32,
    },
    /// A graph of neighbours, which a search traverses with `hnsw.ef_search` candidates.
    Hnsw {
        /// Neighbours of a row in each layer except the lowest, which has twice as many.
        m: u32,
        /// Candidates during the insertion of a row.
        ef_construction: u32,
    },
}

/// The precision of the components in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, as in the rows.
    Full,
    /// 16 bits: half the size, and dimensions up to 4,000. The order of nearly equal distances may change.
    Half,
}

/// The definition of an index without its name.
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
    /// Components from here on have no finite value in half precision: the maximum is 65,504, and this rounds up.
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
