//! Where the three services keep their records: PostgreSQL with pgvector. And Chroma servers, so far to read from.
//!
//! Entry points: [`storage::Storage`] for the records of a service; [`chroma::Source`] for Chroma data wherever it is;
//! [`postgres::Database`] to connect, [`postgres::schema`] to create or adopt the tables, [`postgres::write`] to bring
//! rows of migrations in, [`postgres::scan`] to read them back.

pub mod chroma;
mod error;
pub mod postgres;
mod row;
pub mod storage;

pub use error::Error;
pub use row::{ColumnValue, RowDigest, StoredRecord, metadata_to_json};
