//! The PostgreSQL store: the only place that speaks SQL.

mod connect;
pub mod copy;
mod copy_format;
pub mod ddl;
pub mod schema;
pub mod search;
mod table;
pub mod vector_index;

pub use connect::Database;
pub use table::ServiceTable;
