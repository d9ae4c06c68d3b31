//! Where the three services keep their records. So far that is PostgreSQL with pgvector.
//!
//! Entry points: [`postgres::Database`] to connect, [`postgres::schema`] to create or adopt the tables,
//! [`postgres::copy`] to bring rows in, [`postgres::search`] to find them.

mod error;
pub mod postgres;
mod row;

pub use error::Error;
pub use row::{MetadataJsonError, StoredRecord, metadata_from_json, metadata_to_json};
