//! The vector indexes of a table: which there are, how they are built and swapped, and what searches set for them.
//!
//! What should be there is decided elsewhere: crate `upkeep` plans from an [`Observation`] and carries the plan out by
//! [`Database::change_indexes`](super::Database::change_indexes).

mod build;
mod catalog;
mod index;
mod measured;
mod observe;
mod records;
mod sample;
mod searched;

pub use super::index_definition::{IndexDefinition, IndexKind, Precision};

pub use self::{
    build::{BuildProgress, IndexChange},
    index::{DEPTHS, Filtering, IndexState, IndexUse, MeasuredSetting, VectorIndex},
    observe::{Memory, Observation, SearchRecall},
    records::{KeptPlan, PlanRecord},
    sample::{Sample, Share},
    searched::measured_matches,
};
pub(crate) use self::{
    index::measured,
    observe::machine_bytes,
    searched::{SearchedIndex, search_settings, searched},
};
