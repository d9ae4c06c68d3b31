//! The scheme of a URL, and what other forms of a connection are called.

use super::{parameters::libpq_keyword, parts::UrlError};

/// Longest name of a driver.
const MAX_DRIVER_BYTES: usize = 32;

/// The part after the scheme. SQLAlchemy's `postgresql+driver://` is accepted: only the library that connects differs.
///
/// # Errors
/// [`UrlError::Form`], if `text` has another recognizable form.
pub(super) fn after_scheme(text: &str) -> Result<&str, UrlError> {
    let begins = |scheme: &str| {
        let start = text.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    };
    // As in SQLAlchemy and RFC 3986, in any case.
    let rest = begins("postgresql").or_else(|| begins("postgres"));
    if let Some(rest) = rest {
        let rest = rest.strip_prefix('+').map_or(Some(rest), after_driver);
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix("://")) {
            return Ok(rest);
        }
    }
    // Only these words are shown: other text may be a part of a password.
    const OTHERS: [(&[&str], &str); 9] = [
        (
            &["\"", "'", "`"],
            "it is in quotation marks, which belong to shells and .env files: leave them out",
        ),
        (
            &["jdbc:"],
            "URLs of JDBC are not read: leave `jdbc:` out, and write user and password before the host",
        ),
        (&["mysql:", "mysql+", "mariadb:", "mariadb+"], "it is a URL of MySQL, and PostgreSQL is needed"),
        (&["sqlite:", "sqlite+", "file:"], "it is a URL of SQLite, and PostgreSQL is needed"),
        (&["mssql:", "mssql+", "sqlserver:"], "it is a URL of SQL Server, and PostgreSQL is needed"),
        (&["oracle:", "oracle+"], "it is a URL of Oracle, and PostgreSQL is needed"),
        (&["mongodb:", "mongodb+"], "it is a URL of MongoDB, and PostgreSQL is needed"),
        (&["redis:", "rediss:"], "it is a URL of Redis, and PostgreSQL is needed"),
        (&["http:", "https:"], "it is a URL of an HTTP server, and PostgreSQL is needed"),
    ];
    let of_other = OTHERS.iter().find(|(starts, _)| starts.iter().any(|start| begins(start).is_some()));
    let reason = match of_other {
        Some((_, reason)) => reason,
        None if has_keywords(text) => {
            "libpq's form with keywords (`host=… user=…`) is not read: write it as a URL"
        }
        None => "it does not begin with `postgresql://`",
    };
    Err(UrlError::Form { reason })
}

/// The text after the name of a driver.
fn after_driver(text: &str) -> Option<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let rest = text.trim_start_matches(is_of_name);
    (1..=MAX_DRIVER_BYTES).contains(&(text.len() - rest.len())).then_some(rest)
}

/// Whether `text` begins with `keyword =`, as libpq's connection strings do.
fn has_keywords(text: &str) -> bool {
    text.split_once('=').is_some_and(|(keyword, _)| libpq_keyword(keyword.trim()))
}
