//! Errors of database operations, with their fixes, except for flags and variables of the command line, which the
//! front end adds.

use records::oldest;

use super::{ConnectionFault, UrlError, concise_error::concise};

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is invalid. The message never repeats it: it may contain a password.
    #[error("the URL of the database cannot be used")]
    Url {
        /// The cause.
        source: UrlError,
    },
    /// The connection failed.
    #[error("failed to connect to PostgreSQL at {address}")]
    Connect {
        /// Host, port and database, without credentials.
        address: String,
        /// The cause.
        source: ConnectionFault,
    },
    /// The connection failed during an operation.
    #[error("failed to {operation}")]
    ConnectionLost {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// The cause.
        source: ConnectionFault,
    },
    /// The driver cannot send the password or user name. The driver's message contains the offending character.
    #[error(
        "the {what} for PostgreSQL at {address} has a character that SCRAM's SASLprep forbids, such as a \
            tab or an emoji, and cannot be sent: set another one with `alter role`, of printable letters, \
            digits and punctuation"
    )]
    Unsendable {
        /// `password` or `user name`.
        what: &'static str,
        /// Host, port and database, without credentials.
        address: String,
    },
    /// The server is too old.
    #[error("PostgreSQL at {address} has version {found}: version {} or newer is needed", oldest::POSTGRESQL)]
    ServerVersion {
        /// Host, port and database.
        address: String,
        /// Its version.
        found: String,
    },
    /// The server has no pgvector installed.
    #[error(
        "PostgreSQL at {address} has no pgvector: install the package of your system (on Debian: postgresql-<version>-pgvector) and run again"
    )]
    ExtensionUnavailable {
        /// Host, port and database.
        address: String,
    },
    /// The extension is available on the server, but the role may not create it in the database.
    #[error(
        "failed to create extension `vector`: ask a superuser to run `create extension vector` in this database, then run again"
    )]
    CreateExtension {
        /// The cause.
        source: sqlx::Error,
    },
    /// pgvector is too old.
    #[error(
        "pgvector {found} is too old, {}.{} or newer is needed: upgrade the package, then run `alter extension vector update`",
        oldest::PGVECTOR[0],
        oldest::PGVECTOR[1]
    )]
    ExtensionVersion {
        /// The version in the database.
        found: String,
    },
    /// The database cannot store every text.
    #[error(
        "the encoding of database {database} is {encoding}, and Panopticon needs UTF8: create another one \
            with `create database … encoding 'UTF8' template template0`, move the data by pg_dump, and use that"
    )]
    Encoding {
        /// Host, port and database.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// The role may not use the schema of pgvector.
    #[error(
        "this role may not use schema `{schema}`, which contains pgvector: have its owner run `{grant}`, \
            then run again"
    )]
    ExtensionForbidden {
        /// The schema.
        schema: String,
        /// The statement that grants access.
        grant: String,
    },
    /// Another type hides one of pgvector's.
    #[error(
        "a type of schema `{by}` hides pgvector's, which is in schema `{schema}`: rename it (a table named \
            `vector` or `halfvec` creates such a type), or use a role with another search_path"
    )]
    ExtensionHidden {
        /// The schema of pgvector.
        schema: String,
        /// The schema of the other type.
        by: String,
    },
    /// A foreign relation has the name of one of our tables.
    #[error(
        "`{table}` does not belong to Panopticon, which needs that name ({}): rename it, or use a separate \
            database or schema for Panopticon; nothing was changed",
        problems.join("; ")
    )]
    ForeignTable {
        /// The relation.
        table: String,
        /// How it differs.
        problems: Vec<String>,
    },
    /// A collection's table would have the name of one of our relations.
    #[error("table `{table}` is one of Panopticon's own")]
    OwnTable {
        /// The name.
        table: String,
    },
    /// A policy hides rows from the role.
    #[error(
        "row-level security hides rows of table `{table}` from role `{role}`, and hidden rows would count \
            as missing: use the role that owns the table or one with BYPASSRLS (`alter role {quoted_role} \
            bypassrls`), or run `alter table {quoted_table} disable row level security`"
    )]
    HiddenRows {
        /// The table.
        table: String,
        /// The quoted name.
        quoted_table: String,
        /// The role.
        role: String,
        /// The quoted name.
        quoted_role: String,
    },
    /// The role lacks privileges on a table.
    #[error(
        "role `{role}` may not {privileges} all columns of table `{table}`: have its owner run `{grant}`, then run again"
    )]
    TablePrivilege {
        /// The table.
        table: String,
        /// The role.
        role: String,
        /// The missing privileges, as text.
        privileges: String,
        /// The statement that grants access.
        grant: String,
    },
    /// The server has too little shared memory for a statement.
    #[error(
        "failed to {operation}: the server has too little shared memory. Docker gives a container 64 MB of /dev/shm: start it with `docker run --shm-size=1g`, or `shm_size: 1g` in compose"
    )]
    SharedMemory {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// The server's error.
        source: sqlx::Error,
    },
    /// The schema cannot be created or updated.
    #[error("failed to bring the schema up to date")]
    Migrate {
        /// The cause.
        source: sqlx::migrate::MigrateError,
    },
    /// A table does not have the expected columns.
    #[error("table `{table}` cannot be used: {}", problems.join("; "))]
    Schema {
        /// The table.
        table: String,
        /// Each column that differs, with what was expected and found.
        problems: Vec<String>,
    },
    /// A newer program has made the schema.
    #[error(
        "the database at {database} has schema version {found}, and this program knows versions up to {known}: upgrade panopticon, or restore a backup that this version made (UPGRADING.md)"
    )]
    NewerSchema {
        /// Host, port and database.
        database: String,
        /// Version of the database's schema.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database has none of our tables.
    #[error(
        "the database has no table `{table}`: run `panopticon migrate` first, or `panopticon serve` for a service's table"
    )]
    NoTable {
        /// The table.
        table: String,
    },
    /// A table of the old services that is not adopted yet.
    #[error(
        "table `{table}` was created by an older Panopticon and is not adopted yet: run `panopticon \
            migrate` first, or `panopticon serve`"
    )]
    NotAdopted {
        /// The table.
        table: String,
    },
    /// A privilege is missing.
    #[error("failed to {operation}: {remedy}, then run again")]
    Privilege {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// How to grant it.
        remedy: String,
        /// The server's error.
        source: sqlx::Error,
    },
    /// Another process has taken over this migration.
    #[error("another process has taken over the migration into table `{table}`: let it finish")]
    TakenOver {
        /// The table.
        table: String,
    },
    /// A Chroma client has deleted the collection while its records were copied.
    #[error(
        "a Chroma client has deleted the collection while it was copied into table `{table}`: run again to complete the rest"
    )]
    DeletedMeanwhile {
        /// The table.
        table: String,
    },
    /// The COPY data are malformed.
    #[error("failed to read rows back: expected PostgreSQL's binary COPY format, found something else")]
    CopyFormat,
    /// Another process has locked the table.
    #[error("table `{table}` is locked by another migration: wait for it to end, then run again")]
    Locked {
        /// The table.
        table: String,
    },
    /// The database cannot distribute tables.
    #[error("failed to distribute tables: {reason}")]
    NotDistributable {
        /// Why, and the fix.
        reason: String,
    },
    /// Another process has locked the indexes of the table.
    #[error(
        "the indexes of table `{table}` are locked by another process: wait for it to end, then run again"
    )]
    IndexesLocked {
        /// The table.
        table: String,
    },
    /// The server skipped the VACUUM of a table.
    #[error(
        "table `{table}` was not vacuumed: use the role that owns it, or turn track_counts on where that is off"
    )]
    NotVacuumed {
        /// The table.
        table: String,
    },
    /// A constraint, index or trigger of the table rejects a row.
    #[error(
        "table `{table}` rejects row {id}: change the constraint, index or trigger of the table, or the \
        record"
    )]
    Row {
        /// The row.
        id: uuid::Uuid,
        /// The table.
        table: String,
        /// The cause.
        source: sqlx::Error,
    },
    /// The table's half-precision index cannot hold a row.
    #[error("table `{table}` rejects row {id}: {BEYOND_HALF}, then run again")]
    BeyondHalf {
        /// The row.
        id: uuid::Uuid,
        /// The table.
        table: String,
        /// The server's error.
        source: sqlx::Error,
    },
    /// A statement succeeded but changed fewer rows than expected.
    #[error(
        "{kept} of {rows} rows of table `{table}` were not {change}, although the statement succeeded: a trigger or a rule of the table prevents it. Disable it (`alter table … disable trigger user`, `alter table … disable rule …`), then run again"
    )]
    Kept {
        /// The table.
        table: String,
        /// The change: `deleted` or `updated`.
        change: &'static str,
        /// Number of unchanged rows.
        kept: u64,
        /// Number of rows that should have changed.
        rows: u64,
    },
    /// Rows of other tables refer to rows that were to be deleted.
    #[error(
        "rows of table `{table}` cannot be removed because other rows refer to them: delete those rows or drop the constraint, then undo again"
    )]
    Referenced {
        /// The table.
        table: String,
        /// The server's error, which names the constraint.
        source: sqlx::Error,
    },
    /// A server that was named as a replica is not a replica of this database.
    #[error(transparent)]
    Replica {
        /// Which one, and why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A replayed search failed.
    #[error("failed to replay a search of table `{table}`")]
    Replay {
        /// The table.
        table: String,
        /// The cause.
        source: Box<crate::storage::StorageError>,
    },
    /// The server rejects writes.
    #[error(
        "failed to {operation}: the server is a standby, or its transactions are read-only: connect to the primary; a URL with \
            several hosts and target_session_attrs=read-write finds it"
    )]
    ReadOnlyServer {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// The server's error.
        source: sqlx::Error,
    },
    /// A server that rejects writes lacks our current schema.
    #[error(
        "the server of the database at {database} is a standby or read-only, and the schema there has version {}, but this program needs {known}: start this version of panopticon on the primary first, which upgrades the schema",
        found.map_or_else(|| "none".to_owned(), |found| found.to_string())
    )]
    OutdatedStandby {
        /// Host, port and database.
        database: String,
        /// Version of the database's schema, if there is one.
        found: Option<i64>,
        /// The version of this program.
        known: i64,
    },
    /// A statement failed.
    #[error("failed to {operation}")]
    Statement {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// The cause.
        source: sqlx::Error,
    },
}

impl Error {
    /// Why there is no connection to `address`, which has no credentials.
    pub fn connect(address: String, error: sqlx::Error) -> Self {
        Self::Connect { address, source: ConnectionFault::at_connect(error) }
    }

    /// Whether a build may succeed without parallel workers, which need shared memory.
    pub(crate) fn is_short_of_shared_memory(&self) -> bool {
        match self {
            Self::SharedMemory { .. } => true,
            // The message may be localized; if a disk is full, the next attempt shows it.
            Self::Statement { source, .. } => code(source).as_deref() == Some(DISK_FULL),
            _ => false,
        }
    }

    /// Whether the server rejected a statement, as opposed to a lost connection or a server shutdown.
    pub fn is_refusal(&self) -> bool {
        let (Self::Statement { source, .. }
        | Self::Privilege { source, .. }
        | Self::SharedMemory { source, .. }
        | Self::ReadOnlyServer { source, .. }
        | Self::Row { source, .. }) = self
        else {
            return false;
        };
        // Connection exceptions; shut down, crashed, starting up.
        code(source).is_some_and(|code| !["08", "57P0"].iter().any(|class| code.starts_with(class)))
    }

    /// Whether a statement waited for a lock for longer than `lock_timeout`.
    pub fn is_locked(&self) -> bool {
        const LOCK_NOT_AVAILABLE: &str = "55P03";
        let Self::Statement { source, .. } = self else { return false };
        code(source).as_deref() == Some(LOCK_NOT_AVAILABLE)
    }

    /// Whether a statement was cancelled by its time-out.
    pub fn is_timeout(&self) -> bool {
        const QUERY_CANCELED: &str = "57014";
        let Self::Statement { source, .. } = self else { return false };
        source.as_database_error().is_some_and(|error| error.code().as_deref() == Some(QUERY_CANCELED))
    }
}

/// Adds the operation to the error of a statement.
pub(crate) trait StatementContext<T> {
    /// Wraps the error as [`Error::Statement`].
    fn during(self, operation: &'static str) -> Result<T, Error>;
}

impl<T> StatementContext<T> for sqlx::Result<T> {
    fn during(self, operation: &'static str) -> Result<T, Error> {
        self.map_err(concise).map_err(|source| match ConnectionFault::at_work(source) {
            Ok(source) => Error::ConnectionLost { operation, source },
            Err(source) => match missing_privilege(&source) {
                Some(remedy) => Error::Privilege { operation, remedy, source },
                None if is_shared_memory(&source) => Error::SharedMemory { operation, source },
                None if is_read_only(&source) => Error::ReadOnlyServer { operation, source },
                None => Error::Statement { operation, source },
            },
        })
    }
}

const DISK_FULL: &str = "53100";

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// Whether the server rejected a write as a standby does.
pub(crate) fn is_read_only(error: &sqlx::Error) -> bool {
    const READ_ONLY_SQL_TRANSACTION: &str = "25006";
    code(error).as_deref() == Some(READ_ONLY_SQL_TRANSACTION)
}

/// Whether the server ran out of shared memory: "could not resize shared memory segment".
pub(crate) fn is_shared_memory(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("shared memory segment"))
}

/// The message for a vector that a half-precision index cannot hold.
pub(crate) const BEYOND_HALF: &str = "a component exceeds 65,504, the limit of the table's half-precision \
    vector index: drop that index (`panopticon index status` names it)";

/// Whether a vector exceeds the range of a half-precision index.
pub(crate) fn is_beyond_half(error: &sqlx::Error) -> bool {
    const OUT_OF_RANGE: &str = "22003";
    let is_of_half = |error: &dyn sqlx::error::DatabaseError| error.message().contains("halfvec");
    code(error).as_deref() == Some(OUT_OF_RANGE) && error.as_database_error().is_some_and(is_of_half)
}

/// How to grant the privilege that a statement lacked, if so. PostgreSQL names the object only in the message.
pub(crate) fn missing_privilege(error: &sqlx::Error) -> Option<String> {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// Schemas of the search path without any privilege count as absent.
    const INVALID_SCHEMA_NAME: &str = "3F000";
    let error = error.as_database_error()?;
    match error.code().as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => {}
        Some(INVALID_SCHEMA_NAME) => {
            return Some(
                "have the owner of a schema in the search path run `grant usage, create on schema <schema> \
                    to <this role>`, or create a schema for this role with `create schema authorization \
                    <this role>`"
                    .to_owned(),
            );
        }
        _ => return None,
    }
    let message = error.message();
    let after = |words: &str| message.split_once(words).map(|(_, object)| object);
    Some(if let Some(schema) = after("denied for schema ") {
        format!("have its owner run `grant usage, create on schema {schema} to <this role>`")
    } else if let Some(named) = after("denied for type ") {
        format!("have its owner run `grant usage on type {named} to <this role>`")
    } else if let Some(table) = after("denied for table ") {
        format!("have its owner run `grant select, insert, update, delete on {table} to <this role>`")
    } else if let Some(table) =
        after("must be owner of table ").or_else(|| after("must be owner of relation "))
    {
        format!(
            "use the role that owns `{table}`, or have a superuser run `alter table {table} owner to <this role>`"
        )
    } else if message.contains("temporary tables") {
        "have its owner run `grant temporary on database <this database> to <this role>`".to_owned()
    } else {
        "use a role that may, or have a superuser grant it".to_owned()
    })
}
