//! Maintenance of tables: their state, the actions, and a log of the actions.
//!
//! The decisions are made in crate `upkeep`, which plans from a [`TableHealth`] and an
//! [`Observation`](super::vector_index::Observation).

mod actions;
mod health;
mod ledger;
mod vacuum;

pub use super::sql::maintenance::Column;

pub use self::{
    actions::{ActionRecord, StoredAction},
    health::{Autovacuum, ColumnStatistics, TableHealth, Threshold},
    ledger::Ledger,
};
