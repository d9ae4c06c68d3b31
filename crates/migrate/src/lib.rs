//! Moves Chroma collections into PostgreSQL tables and proves that nothing was lost.
//!
//! 1. `resume` reads which earlier runs exist, and whether one must be finished first;
//! 2. `target` reads the table, `plan` reads the source and classifies each record with `classify`; up to here
//!    nothing is changed;
//! 3. `copy` writes batches, each one transaction that includes its progress: those that `spool` kept from the plan
//!    or, if they exceed its memory limit, those of another read of the source;
//! 4. the vector index is built as the row count requires;
//! 5. `verify` reads both sides again, completely, and compares every record; `parity` compares searches on both
//!    sides.
//!
//! Entry points: [`migrate`], [`verify`], [`undo`]; [`migrate_collections`] and [`verify_collections`] for all
//! collections of a source. `store` contains the SQL, and `chroma` reads Chroma's files.

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
mod served;
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
pub use place::{IsReserved, IsSelected, Placement, Target};
pub use read::SourceCollection;
pub use report::{
    CollectionReport, Conflict, ConflictReason, CopyReport, DatabaseReport, DatabaseState, Difference,
    Examples, GoneCollection, Outcome, Phases, Reject, Report, Searches, Stopped, Verification,
};
pub use run::{migrate, verify};
pub use undo::{UndoReport, UndoneTable, undo};
pub use whole::{WholeSource, migrate_collections, verify_collections};
