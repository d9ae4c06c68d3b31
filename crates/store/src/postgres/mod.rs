//! The PostgreSQL store: the only place that speaks SQL.

mod connect;
mod copy_format;
pub mod ddl;
pub mod jobs;
mod lock;
pub mod nearest;
pub mod scan;
pub mod schema;
mod schema_migrations;
pub mod search;
mod table;
pub mod undo;
mod unnamed;
pub mod vector_index;
pub mod write;

pub use connect::{Database, MAX_COPY_CONNECTIONS};
pub use lock::TableLock;
pub use table::{Column, ColumnType, Presence, Table, UnknownColumnType};
