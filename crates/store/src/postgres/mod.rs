//! The PostgreSQL store. All SQL statements are in this module.

mod access;
mod added_columns;
mod bounded;
mod checkout;
pub mod collection_records;
pub mod collections;
mod concise_error;
mod connect;
mod connection_fault;
mod constraints;
mod copy_format;
mod counted;
mod distribution;
mod embedding_health;
mod error;
mod evaluation_results;
mod executor;
mod failure;
pub mod groups;
mod growth;
mod hot_connections;
mod index_definition;
pub mod job_history;
pub mod jobs;
mod labels;
mod lock;
mod lsn;
pub mod maintenance;
mod models;
pub mod nearest;
mod odd_values;
mod own_tables;
mod reads;
mod relations;
mod replicas;
mod result_selection;
mod row_locks;
pub mod runs;
pub mod scan;
pub mod schema;
mod schema_migrations;
mod search_watch;
pub mod searches;
mod send_rows;
mod server_facts;
mod servers;
mod service_indexes;
mod session;
mod shard_indexes;
mod shard_statistics;
mod shares;
mod snapshot;
pub mod sql;
mod storage;
mod table;
mod table_facts;
pub mod undo;
mod unnamed;
mod url;
pub mod vector_index;
pub mod versions;
pub mod write;

pub use access::Access;
pub use connect::{Database, DatabaseOptions, MAX_COPY_CONNECTIONS};
pub use connection_fault::ConnectionFault;
pub use distribution::Placement;
pub use embedding_health::EmbeddingHealth;
pub use error::Error;
pub use evaluation_results::{
    EarlierVerdict, EvaluationResult, JudgedAnswer, JudgedItem, JudgedKind, NewestAnswer, StoredComparison,
    StoredJudgement, StoredResult,
};
pub use growth::Growth;
pub use labels::{
    ItemDigest, LabelOutcome, LabelSelection, LabelVerdict, LabelWinner, LabelledQuery, MAX_ANNOTATOR_BYTES,
    StoredLabel, item as label_item,
};
pub use lock::AdvisoryLock;
pub use lsn::{InvalidLsn, Lsn, reading_after};
pub use models::{RegisteredModel, Registration};
pub use odd_values::OddValues;
pub use own_tables::is_own_relation;
pub use replicas::{Lag, ServerState, StandbySettings, split_database_urls};
pub use result_selection::{
    InvalidResultCursor, ResultCursor, ResultSelection, ResultStatus, ResultWinner, UnknownStatus,
};
pub use schema_migrations::schema_version;
pub use server_facts::{OpenTransaction, ServerFacts, ServerSetting, SettingSource};
pub use servers::ServerRole;
pub use session::{Session, Vectors};
pub use snapshot::{Snapshot, StoredTable, TableContents};
pub use sql::{
    Build,
    odd_values::{OddKind, OddPlace},
    quoted,
};
pub use storage::PostgresStorage;
pub use table::{Column, ColumnType, Presence, SharedTable, Table, UnknownColumnType};
pub use table_facts::{LastSearches, TableFacts};
pub use url::{DatabaseUrl, UrlError, libpq_parameter};
