//! Moves Chroma collections into PostgreSQL tables and proves that nothing was lost.
//!
//! 1. `resume` looks what earlier runs have done, and whether one has to be finished first;
//! 2. `target` reads what the table holds, `plan` reads the source and decides on each record with `classify`: until
//!    here nothing is changed;
//! 3. `copy` writes batches, each one transaction with its own progress: those that `spool` has kept from the plan, or if
//!    they are too many for memory, those that it makes from another read of the source;
//! 4. the vector index follows the row count;
//! 5. `verify` reads both sides again, completely, and compares every record; `parity` searches on both sides.
//!
//! Entry points: [`migrate`], [`verify`], [`undo`]; [`migrate_collections`] and [`verify_collections`] of a whole source. SQL is `store`'s business, bytes of Chroma are `chroma`'s.

mod batcher;
mod carry_out;
mod classify;
mod copy;
mod digest;
mod discrepancy;
mod error;
mod mapping;
mod observe;
mod options;
mod parity;
mod place;
mod plan;
mod prepare;
mod quarantine;
mod read;
mod report;
mod resume;
mod run;
mod spool;
mod target;
mod undo;
mod verify;
mod whole;

pub use discrepancy::Discrepancy;
pub use error::Error;
pub use mapping::{Defaults, RejectReason};
pub use observe::{Event, Observer, Phase, Step};
pub use options::{
    Comparison, EditedRows, Embed, MigrateOptions, Mode, RejectedRecords, StaleRows, Transfer, VerifyOptions,
};
pub use place::{IsReserved, Placement, Target};
pub use read::SourceCollection;
pub use report::{
    CollectionReport, Conflict, ConflictReason, CopyReport, Difference, Examples, Outcome, Phases, Reject,
    Report, Searches, Stopped, Verification,
};
pub use run::{migrate, verify};
pub use undo::{UndoReport, UndoneTable, undo};
pub use whole::{WholeSource, migrate_collections, verify_collections};
