//! The storages of the three services: PostgreSQL with pgvector, or ChromaDB.
//!
//! Entry points: [`open_storage`] for the records of a service; [`chroma::Source`] for Chroma directories and
//! servers; [`postgres::Database`] to connect, [`postgres::schema`] to create or adopt the tables,
//! [`postgres::write`] to insert migrated rows, [`postgres::scan`] to read them back.

pub mod chroma;
pub mod collection_schema;
mod factory;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod in_place;
pub mod json;
pub mod memory;
pub mod memory_budget;
pub mod postgres;
mod problem;
mod row;
pub mod storage;
mod stored_time;
pub mod tls;

pub use factory::{StorageConfig, open_storage};
pub use postgres::Error;
pub use problem::{Problem, ProblemKind};
pub use row::{ColumnValue, RowDigest, StoredRecord, metadata_to_json};
pub use stored_time::StoredTime;
