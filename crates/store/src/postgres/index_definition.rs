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
        /// Candidates for the neighbours of each row while the index is built.
        ef_construction: u32,
        /// Candidates for the neighbours of a row that is inserted later: the option `ef_construction` of the built index.
        ef_insert: u32,
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
            IndexKind::Hnsw { m, ef_construction, ef_insert } if ef_construction == ef_insert => {
                write!(f, "hnsw with m {m}, ef_construction {ef_construction}")?;
            }
            IndexKind::Hnsw { m, ef_construction, ef_insert } => {
                write!(f, "hnsw with m {m}, ef_construction {ef_construction} (inserts with {ef_insert})")?;
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

    /// Half precision's smallest normal number, 2^-14. Below it, components lose digits, and finally are zero.
    pub(crate) const HALF_NORMAL: f64 = 0.000_061_035_156_25;

    /// Whether it can hold `vector`: every component is in its range, and those too small for all of their digits matter
    /// little to the direction. A vector is at least as long as if each of those were 2^-14, the smallest normal number,
    /// so that what they lose is less than a thousandth of its length.
    pub fn holds(self, vector: &[f32]) -> bool {
        if self == Self::Full {
            return true;
        }
        let (mut square, mut small) = (0.0, 0.0);
        for component in vector.iter().map(|component| f64::from(component.abs())) {
            if component >= f64::from(Self::HALF_LIMIT) {
                return false;
            }
            square += (component / Self::HALF_NORMAL).powi(2);
            small += f64::from(u8::from(component > 0.0 && component < Self::HALF_NORMAL));
        }
        square >= small
    }

    /// How many rows a search for `limit` takes from the index, to sort them by their true distance.
    pub(crate) fn taken(self, limit: u32) -> u32 {
        match self {
            Self::Full => limit,
            Self::Half => limit.saturating_mul(2),
        }
    }
}
