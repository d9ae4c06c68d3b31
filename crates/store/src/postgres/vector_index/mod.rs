//! The vector indexes of a table: which there are, how they are built and swapped, and what searches set for them.
//!
//! What should be there is decided elsewhere: crate `upkeep` plans from an [`Observation`] and carries the plan out by
//! [`Database::change_indexes`](super::Database::change_indexes).

use std::fmt;

mod build;
mod catalog;
mod measured;
mod observe;
mod records;
mod sample;
mod searched;

pub use self::{
    build::{BuildProgress, IndexChange},
    measured::{DEPTHS, Filtering, MeasuredSetting},
    observe::{Memory, Observation, SearchRecall},
    records::PlanRecord,
    sample::{Sample, Share},
    searched::measured_matches,
};
pub(crate) use self::{
    measured::measured,
    observe::machine_bytes,
    searched::{SearchedIndex, searched},
};

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

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Searches can use it.
    Valid,
    /// Some session builds it now.
    Building,
    /// A build failed or was killed: it takes space, slows writes down, and serves nothing.
    Invalid,
}

/// Whether the searches of its table can use an index once it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// They can.
    Searches,
    /// It has another distance, column or type, or a part of the rows: somebody made it for a purpose of their own.
    Others,
}

/// A vector index that a table has.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorIndex {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: IndexDefinition,
    /// How far it is.
    pub state: IndexState,
    /// Whom it serves.
    pub service: Service,
    /// Size on disk.
    pub size_bytes: u64,
    /// Its file: another build of the same index has another one.
    pub build: i64,
    /// The settings that were measured for this very build.
    pub measured: Vec<MeasuredSetting>,
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
    pub(crate) fn holds(self, vector: &[f32]) -> bool {
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

impl VectorIndex {
    /// Whether searches use it now.
    pub fn is_searched(&self) -> bool {
        self.state == IndexState::Valid && self.serves_searches()
    }

    /// Whether searches use it once it is valid.
    pub fn serves_searches(&self) -> bool {
        self.service == Service::Searches
    }

    /// Whether it is a graph.
    pub fn is_graph(&self) -> bool {
        matches!(self.definition.kind, IndexKind::Hnsw { .. })
    }
}
