//! The vector indexes of a table: reading, building and replacing them, and the settings of searches.
//!
//! The decisions are made in crate `upkeep`, which plans from an [`Observation`] and executes the plan with
//! [`Database::change_indexes`](super::Database::change_indexes).

mod build;
mod catalog;
mod construction;
mod index;
mod measured;
mod observe;
mod progress;
mod records;
mod sample;
mod searched;

pub use super::index_definition::{IndexDefinition, IndexKind, Precision};

pub use self::{
    build::{BuildProgress, IndexChange},
    index::{
        DEPTHS, Filtering, IndexState, IndexUse, MeasuredCurve, MeasuredPoint, MeasuredSetting, Tuned,
        VectorIndex,
    },
    observe::{Memory, Observation, SearchRecall},
    progress::IndexProgress,
    records::{PlanRecord, StoredPlan},
    sample::{Sample, Share},
    searched::exact_scan_limit,
};
pub(crate) use self::{
    index::measured,
    observe::machine_bytes,
    searched::{SearchedIndex, search_settings, searched},
};
