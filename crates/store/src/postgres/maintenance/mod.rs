//! Tables kept in order: what state they are in, what is done about it, and a record of that.
//!
//! What should be done is decided elsewhere: crate `upkeep` plans from a [`TableHealth`] and an
//! [`Observation`](super::vector_index::Observation).

mod actions;
mod health;
mod ledger;
mod vacuum;

pub use super::sql::maintenance::Column;

pub use self::{
    actions::{ActionRecord, KeptAction},
    health::{Autovacuum, ColumnStatistics, TableHealth, Threshold},
    ledger::Ledger,
};
