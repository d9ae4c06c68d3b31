//! The PostgreSQL store: the only place that speaks SQL.

mod connect;
mod copy_format;
pub mod ddl;
mod evaluation_results;
pub mod jobs;
mod lock;
mod models;
pub mod nearest;
pub mod runs;
pub mod scan;
pub mod schema;
mod schema_migrations;
pub mod searches;
mod service_indexes;
mod storage;
mod table;
pub mod undo;
mod unnamed;
pub mod vector_index;
pub mod write;

pub use connect::{Database, DatabaseOptions, MAX_COPY_CONNECTIONS};
pub use ddl::Build;
pub use evaluation_results::{
    EarlierVerdict, EvaluationResult, InvalidResultCursor, ResultCursor, ResultSelection, ResultStatus,
    StoredComparison, StoredJudgement, UnknownStatus,
};
pub use lock::{IndexLock, ReplayLock, TableLock};
pub use models::{RegisteredModel, Registration};
pub use storage::PostgresStorage;
pub use table::{Column, ColumnType, Presence, Table, UnknownColumnType};
