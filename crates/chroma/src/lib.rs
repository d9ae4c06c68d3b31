//! Reads a ChromaDB persist directory (0.3 – 1.5) without ChromaDB: synchronous, read-only, streaming.
//!
//! Entry point: [`PersistDirectory::open`], then [`PersistDirectory::read`] for each of its collections.
//! [`PersistDirectory::overview`] describes the directory without reading its records.
//!
//! Contract: any content of the directory results in records, warnings or an [`Error`], never in a panic. Nothing in
//! the directory is written. Memory holds the ids of one collection and offsets into the files, never all of its
//! vectors or documents. Numbers from files are checked before they determine the size of an allocation.
//!
//! "FORMAT §n" in the comments means section n of `docs/chroma-format.md`.

mod bits;
mod collection;
mod database;
mod directory;
mod error;
mod extents;
mod fault;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hnsw;
mod ids;
mod json;
pub mod json_lines;
mod overview;
mod parquet;
mod record;
mod text;
mod warning;

pub use collection::{Collection, Configured, DEFAULT_DATABASE, DEFAULT_TENANT, EmptyDatabase};
pub use directory::PersistDirectory;
pub use error::Error;
pub use fault::ParquetFault;
pub use overview::{Kind, LogOverview, Orphans, Overview, VersionRange};
pub use record::{CreatedAt, Field, MissingReason, Origin, Problem, ProblemKind, ReadReport, Record, Vector};
pub use warning::{Tally, Warning, WarningCode};
