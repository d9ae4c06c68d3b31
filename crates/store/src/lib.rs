//! Where the three services keep their records: PostgreSQL with pgvector. And Chroma servers, so far to read from.
//!
//! Entry points: [`chroma::ChromaServer`] to read a server; [`postgres::Database`] to connect, [`postgres::schema`] to create or adopt the tables,
//! [`postgres::copy`] to bring rows in, [`postgres::search`] to find them.

pub mod chroma;
mod error;
pub mod postgres;
mod row;

pub use error::Error;
pub use row::{MetadataJsonError, StoredRecord, metadata_from_json, metadata_to_json};
