//! The configured policy for vector indexes.

use std::{fmt, str::FromStr, time::Duration};

/// Up to this number of rows, an exact scan with 384 dimensions takes about 5 ms.
pub(crate) const EXACT_SCAN_ROWS: u64 = 10_000;

/// The policy for vector indexes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The index type.
    pub index_type: IndexType,
    /// The target recall@10, above 0 and at most 1; 0.98 by default. A lower one loses rows, a higher one costs time:
    /// with 50,000 sentences, 0.99 took twice the time of 0.98.
    pub recall_target: f64,
    /// How soon the index is needed.
    pub urgency: BuildUrgency,
    /// Smaller tables get no index: their searches are exact scans. 10,000 by default.
    pub exact_scan_rows: u64,
    /// The most searches by which search parameters are measured; at least 60 are made. 200 by default.
    pub most_searches: u32,
}

/// The index type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexType {
    /// The type that suits the table, or none while it is small.
    Auto,
    /// IVFFlat.
    Ivfflat,
    /// HNSW.
    Hnsw,
    /// No index: searches use exact scans.
    None,
}

/// How soon an index is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildUrgency {
    /// Not urgent: the best index may take longer to build.
    None,
    /// A migration is waiting: an HNSW index, with its search parameters, may take a minute. Otherwise the table gets
    /// IVFFlat, which builds ten times as fast, and HNSW replaces it later.
    Migration,
}

impl Policy {
    /// How long an HNSW index may take: an hour, the default budget of a round of maintenance, to build with more
    /// candidates than the default; a minute in a migration, including its search parameters, unless it is requested.
    pub(crate) fn build_time(&self) -> Duration {
        match (self.urgency, self.index_type) {
            (BuildUrgency::None, _) | (BuildUrgency::Migration, IndexType::Hnsw) => {
                Duration::from_secs(3_600)
            }
            (BuildUrgency::Migration, _) => Duration::from_secs(60),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            index_type: IndexType::Auto,
            recall_target: 0.98,
            urgency: BuildUrgency::None,
            exact_scan_rows: EXACT_SCAN_ROWS,
            most_searches: 200,
        }
    }
}

/// An unknown index type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIndexType(pub String);

impl IndexType {
    const ALL: [Self; 4] = [Self::Auto, Self::Ivfflat, Self::Hnsw, Self::None];

    /// Its name in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ivfflat => "ivfflat",
            Self::Hnsw => "hnsw",
            Self::None => "none",
        }
    }
}

impl FromStr for IndexType {
    type Err = UnknownIndexType;

    fn from_str(name: &str) -> Result<Self, UnknownIndexType> {
        let found = Self::ALL.into_iter().find(|index_type| index_type.as_str() == name);
        found.ok_or_else(|| UnknownIndexType(name.to_owned()))
    }
}

impl fmt::Display for UnknownIndexType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = IndexType::ALL.map(IndexType::as_str).join(", ");
        write!(f, "unknown type of vector index `{}`: expected one of {known}", self.0)
    }
}

impl std::error::Error for UnknownIndexType {}
