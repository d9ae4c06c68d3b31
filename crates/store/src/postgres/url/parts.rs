//! The parts of a URL, and why one cannot be used.

/// How a URL is to be written whose password has characters that mean something in a URL.
const HINT: &str = "expected postgresql://user:password@host:5432/database, where `? # / @ % :` of a password are written `%3F %23 %2F %40 %25 %3A`";

/// A database's URL cannot be used. No text repeats what the URL has.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is of another kind, or can be read in no way or in several.
    #[error("{HINT}")]
    Unreadable,
    /// It names several servers.
    #[error("it names several hosts or ports, of which only one can be used: name the primary server")]
    SeveralHosts,
    /// A parameter that we cannot honour, and must not ignore.
    #[error("parameter `{name}` {reason}")]
    Parameter {
        /// Its name, which libpq knows.
        name: String,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// A variable of libpq's that we cannot honour, and must not ignore.
    #[error("environment variable {name} {reason}")]
    Variable {
        /// Its name.
        name: String,
        /// Why not, and what to do.
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
    /// The driver's own objection.
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
    /// In their order; the last of a name counts.
    pub(super) parameters: Vec<(String, String)>,
}
