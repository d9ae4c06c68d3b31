//! Reads a ChromaDB persist directory (0.4 – 1.5) without ChromaDB: synchronous, read-only, streaming.
//!
//! Entry point: [`PersistDirectory::open`], then [`PersistDirectory::read`] for each of its collections.
//!
//! The contract with the bytes: any directory content ends in records, warnings or an [`Error`], never in a
//! panic; nothing in the directory is written; memory holds the ids of one collection and positions into the
//! files, never all its vectors or documents. Numbers found in files are checked before they size anything.
//!
//! "FORMAT §n" in the comments means the team's description of the format, `chroma/FORMAT.md`.
#![forbid(unsafe_code)]

mod catalog;
mod cursor;
mod directory;
mod error;
mod fields;
mod hnsw;
mod json;
mod log;
mod read;
mod record;
mod runs;
mod schema;
mod seq_id;
mod snapshot;
mod space;
mod statements;
mod text;
mod vector;
mod warning;

pub use catalog::Collection;
pub use directory::PersistDirectory;
pub use error::Error;
pub use record::{CreatedAt, Field, MissingReason, Origin, Problem, ProblemKind, ReadReport, Record, Vector};
pub use warning::{Warning, WarningCode};
