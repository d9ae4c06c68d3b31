//! What can go wrong between us and the database, each with its remedy in the text.

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one of a PostgreSQL database. The text never repeats the URL: it may hold a password.
    #[error("DATABASE_URL is not a PostgreSQL URL: expected postgresql://user:password@host:5432/database")]
    Url {
        /// What the parser objected to, when it got that far.
        source: Option<sqlx::Error>,
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
        table: &'static str,
        /// Each column that differs, with what was expected and found.
        problems: Vec<String>,
    },
    /// The database has none of our tables.
    #[error("the database has no table `{table}`: run `panopticon migrate` first")]
    NoTable {
        /// The table.
        table: &'static str,
    },
    /// Another process holds the table.
    #[error("another migration holds table `{table}`: wait for it to end, then run again")]
    Locked {
        /// The table.
        table: &'static str,
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

/// Names the purpose of a statement that failed.
pub(crate) trait StatementContext<T> {
    /// Wraps the error as [`Error::Statement`].
    fn during(self, operation: &'static str) -> Result<T, Error>;
}

impl<T> StatementContext<T> for sqlx::Result<T> {
    fn during(self, operation: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Statement { operation, source })
    }
}
