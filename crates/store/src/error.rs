//! What can go wrong between us and the database, each with its remedy in the text.

use crate::postgres::UrlError;

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used. The text never repeats the URL: it may hold a password.
    #[error("DATABASE_URL cannot be used")]
    Url {
        /// Why not.
        source: UrlError,
    },
    /// No connection.
    #[error("failed to connect to PostgreSQL at {address}: check DATABASE_URL and that the server runs")]
    Connect {
        /// Host, port and database, without credentials.
        address: String,
        /// Why not.
        source: sqlx::Error,
    },
    /// The server is too old.
    #[error("PostgreSQL at {address} has version {found}: version 14 or newer is needed")]
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
    /// The extension exists on the server but not in the database, and we may not create it.
    #[error(
        "failed to create extension `vector`: ask a superuser to run `create extension vector` in this database, then run again"
    )]
    CreateExtension {
        /// Why not.
        source: sqlx::Error,
    },
    /// pgvector is too old.
    #[error(
        "pgvector {found} is too old, 0.7 or newer is needed: upgrade the package, then run `alter extension vector update`"
    )]
    ExtensionVersion {
        /// The version in the database.
        found: String,
    },
    /// A table of ours cannot be created or changed.
    #[error("failed to bring the schema up to date")]
    Migrate {
        /// Why not.
        source: sqlx::migrate::MigrateError,
    },
    /// A table of the expected name has other columns.
    #[error("table `{table}` cannot be used: {}", problems.join("; "))]
    Schema {
        /// The table.
        table: String,
        /// Each column that differs, with what was expected and found.
        problems: Vec<String>,
    },
    /// The database has none of our tables.
    #[error("the database has no table `{table}`: run `panopticon migrate` first")]
    NoTable {
        /// The table.
        table: String,
    },
    /// A table of the old services that no migration has touched yet.
    #[error(
        "table `{table}` was made by an older Panopticon and is not adopted yet: run `panopticon migrate` first"
    )]
    NotAdopted {
        /// The table.
        table: String,
    },
    /// A privilege is missing.
    #[error("failed to {operation}: {remedy}, then run again")]
    Privilege {
        /// What it was for, as a verb phrase.
        operation: &'static str,
        /// How to give it.
        remedy: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// Another process has taken over a migration that this one worked on.
    #[error("another process has taken over the migration into table `{table}`: let it finish")]
    TakenOver {
        /// The table.
        table: String,
    },
    /// A newer version has been here.
    #[error("migration_jobs has a status `{found}` that this version does not know: use the newer one")]
    UnknownJobStatus {
        /// The status.
        found: String,
    },
    /// What COPY sent is not what was asked for.
    #[error("failed to read rows back: expected PostgreSQL's binary COPY format, found something else")]
    CopyFormat,
    /// Another process holds the table.
    #[error("another migration holds table `{table}`: wait for it to end, then run again")]
    Locked {
        /// The table.
        table: String,
    },
    /// Another process builds the indexes of the table.
    #[error("another process builds the indexes of table `{table}`: wait for it to end, then run again")]
    IndexesLocked {
        /// The table.
        table: String,
    },
    /// The server has passed a table over that was to be vacuumed.
    #[error(
        "table `{table}` was not vacuumed: use the role that owns it, or turn track_counts on where that is off"
    )]
    NotVacuumed {
        /// The table.
        table: String,
    },
    /// The table refuses a row, by a constraint, an index or a trigger of its own.
    #[error("table `{table}` refuses row {id}: remove what it objects to, from the table or from the record")]
    Row {
        /// The row.
        id: uuid::Uuid,
        /// The table.
        table: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A search that was to be measured failed.
    #[error("failed to search table `{table}` again")]
    Replay {
        /// The table.
        table: String,
        /// Why.
        source: Box<crate::storage::StorageError>,
    },
    /// A newer version has been here.
    #[error("failed to read vector_search_history")]
    FilterClass {
        /// What it wrote.
        source: crate::postgres::searches::UnknownFilterClass,
    },
    /// A statement failed.
    #[error("failed to {operation}")]
    Statement {
        /// What it was for, as a verb phrase.
        operation: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
}

impl Error {
    /// Whether a statement was ended since it took longer than it may.
    pub fn is_timeout(&self) -> bool {
        const QUERY_CANCELED: &str = "57014";
        let Self::Statement { source, .. } = self else { return false };
        source.as_database_error().is_some_and(|error| error.code().as_deref() == Some(QUERY_CANCELED))
    }
}

/// Names the purpose of a statement that failed.
pub(crate) trait StatementContext<T> {
    /// Wraps the error as [`Error::Statement`].
    fn during(self, operation: &'static str) -> Result<T, Error>;
}

impl<T> StatementContext<T> for sqlx::Result<T> {
    fn during(self, operation: &'static str) -> Result<T, Error> {
        self.map_err(|source| match missing_privilege(&source) {
            Some(remedy) => Error::Privilege { operation, remedy, source },
            None => Error::Statement { operation, source },
        })
    }
}

/// How to give the privilege that a statement failed for, if it did. PostgreSQL names the object in the text alone.
pub(crate) fn missing_privilege(error: &sqlx::Error) -> Option<String> {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// Schemas of the search path in which we may do nothing count as absent.
    const INVALID_SCHEMA_NAME: &str = "3F000";
    let error = error.as_database_error()?;
    match error.code().as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => {}
        Some(INVALID_SCHEMA_NAME) => {
            return Some(
                "have the owner of a schema in the search path run `grant usage, create on schema <schema> to <this role>`, or give this role a schema of its own with `create schema authorization <this role>`"
                    .to_owned(),
            );
        }
        _ => return None,
    }
    let message = error.message();
    let after = |words: &str| message.split_once(words).map(|(_, object)| object);
    Some(if let Some(schema) = after("denied for schema ") {
        format!("have its owner run `grant usage, create on schema {schema} to <this role>`")
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
