//! The vector indexes of a table: which there are, how they are built and swapped, and what searches set for them.
//!
//! What should be there is decided elsewhere: crate `upkeep` plans from an [`Observation`] and carries the plan out by
//! [`Database::change_indexes`](super::Database::change_indexes).

mod build;
mod catalog;
mod measured;
mod observe;
mod records;
mod sample;
mod searched;

pub use super::index_definition::{IndexDefinition, IndexKind, Precision};

pub use self::{
    build::{BuildProgress, IndexChange},
    measured::{DEPTHS, Filtering, MeasuredSetting},
    observe::{Memory, Observation, SearchRecall},
    records::{KeptPlan, PlanRecord},
    sample::{Sample, Share},
    searched::measured_matches,
};
pub(crate) use self::{
    measured::measured,
    observe::machine_bytes,
    searched::{SearchedIndex, search_settings, searched},
};

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
pub enum IndexUse {
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
    pub service: IndexUse,
    /// Size on disk.
    pub size_bytes: u64,
    /// Its file: another build of the same index has another one.
    pub build: i64,
    /// The settings that were measured for this very build.
    pub measured: Vec<MeasuredSetting>,
}

impl VectorIndex {
    /// Whether searches use it now.
    pub fn is_searched(&self) -> bool {
        self.state == IndexState::Valid && self.serves_searches()
    }

    /// Whether searches use it once it is valid.
    pub fn serves_searches(&self) -> bool {
        self.service == IndexUse::Searches
    }

    /// Whether it is a graph.
    pub fn is_graph(&self) -> bool {
        matches!(self.definition.kind, IndexKind::Hnsw { .. })
    }
}
