//! The parts of a URL, and its errors.

/// How to write a URL whose password has reserved characters.
const HINT: &str = "expected postgresql://user:password@host:5432/database, where `? # / @ % :` of a password are written `%3F %23 %2F %40 %25 %3A`";

/// A database URL cannot be used. No message contains a part of the URL.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is invalid or ambiguous.
    #[error("{HINT}")]
    Unreadable,
    /// It is no URL of PostgreSQL.
    #[error("{reason}: expected postgresql://user:password@host:5432/database")]
    Form {
        /// What it seems to be.
        reason: &'static str,
    },
    /// Its hosts, addresses and ports do not make a list of servers.
    #[error(
        "its hosts and ports are no list of servers: expected a host and a port number for each of up to 32 servers (`host1:5432,host2:5432`), or one port for all"
    )]
    Servers,
    /// It is a replica's, and names several servers.
    #[error("it names several servers, and each replica needs a URL of its own: separate them by commas")]
    SeveralReplicas,
    /// A parameter that is not supported and must not be ignored.
    #[error("parameter `{name}` {reason}")]
    Parameter {
        /// Its name, which libpq knows.
        name: String,
        /// The reason and the remedy.
        reason: &'static str,
    },
    /// A variable of libpq that is not supported and must not be ignored.
    #[error("environment variable {name} {reason}")]
    Variable {
        /// Its name.
        name: String,
        /// The reason and the remedy.
        reason: &'static str,
    },
    /// The file with passwords that the URL names.
    #[error("failed to read the passfile `{path}`")]
    Passfile {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// An error of the driver.
    #[error("a parameter has an invalid value")]
    Value {
        /// What it was.
        source: sqlx::Error,
    },
}

/// A URL in its parts, none of them encoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) database: Option<String>,
    /// In their order; the last value of a name is used.
    pub(super) parameters: Vec<(String, String)>,
}
