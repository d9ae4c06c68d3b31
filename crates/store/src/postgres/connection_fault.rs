//! Why there is no connection, and what to do: the driver's messages name its functions, and not the remedy.

use std::{
    error::Error as StdError,
    fmt,
    io::{self, ErrorKind},
};

use super::concise_error::concise;

/// Why a server cannot be reached, rejects a connection, or has closed it.
#[derive(Debug)]
pub struct ConnectionFault {
    words: String,
    remedy: Option<Remedy>,
    source: Option<sqlx::Error>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug)]
enum Remedy {
    /// Ends with a correction of the URL, whose place the front end names.
    Url(&'static str),
    Server(&'static str),
}

/// Why none of several servers is used, or the one that answers does not do so as PostgreSQL does, as the cause of an
/// [`sqlx::Error::Io`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoServer(String);

impl NoServer {
    pub(super) fn new(reason: String) -> Self {
        Self(reason)
    }

    /// Of an attempt to connect for an operation. What is no error of the connection is returned as it is.
    pub(super) fn at_connect(error: sqlx::Error) -> sqlx::Error {
        match error {
            sqlx::Error::Protocol(_) => Self::new(NOT_POSTGRESQL.to_owned()).into(),
            error => error,
        }
    }

    fn of(cause: &io::Error) -> Option<&Self> {
        cause.get_ref()?.downcast_ref()
    }
}

impl From<NoServer> for sqlx::Error {
    fn from(error: NoServer) -> Self {
        Self::Io(io::Error::new(ErrorKind::NotConnected, error))
    }
}

const NOT_POSTGRESQL: &str = "it does not answer as PostgreSQL does";
const CHECK_PORT: Remedy = Remedy::Url("check that PostgreSQL listens there, or correct the host and port");

impl ConnectionFault {
    /// Of an attempt to connect.
    pub(crate) fn at_connect(error: sqlx::Error) -> Self {
        let error = concise(error);
        let (words, remedy) = match &error {
            sqlx::Error::Io(cause) => of_io(cause),
            sqlx::Error::Tls(cause) if cause.to_string().contains("does not support TLS") => (
                "the server does not support TLS, which sslmode requires".to_owned(),
                Some(Remedy::Url("turn `ssl` on in the server, or set sslmode=prefer")),
            ),
            sqlx::Error::Tls(_) => ("TLS failed".to_owned(), None),
            sqlx::Error::Protocol(_) => (NOT_POSTGRESQL.to_owned(), Some(CHECK_PORT)),
            sqlx::Error::PoolTimedOut => ("it does not answer in time".to_owned(), Some(CHECK_PORT)),
            sqlx::Error::Database(rejection) => {
                let code = rejection.code();
                (
                    rejection.message().to_owned(),
                    of_rejection(code.as_deref().unwrap_or_default(), rejection.message()),
                )
            }
            error => (error.to_string(), None),
        };
        Self { words, remedy, source: is_about_tls(&error).then_some(error) }
    }

    /// Of work on a connection of the pool, if the connection failed.
    pub(crate) fn at_work(error: sqlx::Error) -> Result<Self, sqlx::Error> {
        let words = match &error {
            sqlx::Error::Io(cause) => match cause.kind() {
                ErrorKind::UnexpectedEof => "the server has closed the connection".to_owned(),
                _ => of_io(cause).0,
            },
            sqlx::Error::PoolTimedOut => {
                "no connection was made or became free in time: check that the server runs".to_owned()
            }
            sqlx::Error::Tls(_) => "TLS failed".to_owned(),
            _ => return Err(error),
        };
        Ok(Self { words, remedy: None, source: is_about_tls(&error).then_some(error) })
    }

    /// Whether the remedy ends with a correction of the URL.
    pub fn is_in_url(&self) -> bool {
        matches!(self.remedy, Some(Remedy::Url(_)))
    }
}

fn of_io(cause: &io::Error) -> (String, Option<Remedy>) {
    if let Some(none) = NoServer::of(cause) {
        return (none.to_string(), None);
    }
    const START: Remedy = Remedy::Url("start the server, or correct the host and port");
    let (words, remedy) = match cause.kind() {
        ErrorKind::ConnectionRefused => ("connection refused", START),
        ErrorKind::NotFound => ("no socket is there", START),
        ErrorKind::PermissionDenied => {
            ("this user may not use the socket", Remedy::Url("use a user who may, or correct the host"))
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => ("the connection was closed without an answer of PostgreSQL", CHECK_PORT),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => {
            ("the host cannot be reached", Remedy::Url("check the network, or correct the host"))
        }
        _ if cause.to_string().contains("lookup address") => {
            ("the name of the host is unknown", Remedy::Url("correct the host"))
        }
        // Of rustls.
        _ if cause.raw_os_error().is_none() && cause.get_ref().is_some() => {
            return ("TLS failed".to_owned(), None);
        }
        _ => return (cause.to_string(), None),
    };
    (words.to_owned(), Some(remedy))
}

/// What to do if the server rejects a connection.
fn of_rejection(code: &str, message: &str) -> Option<Remedy> {
    Some(match code {
        "28P01" => Remedy::Url("correct the user and password"),
        "28000" if message.contains("no encryption") || message.contains("SSL off") => Remedy::Url(
            "have an administrator allow it in pg_hba.conf, or set sslmode=require or another user",
        ),
        "28000" => Remedy::Url("have an administrator create or allow it, or correct the user and database"),
        "3D000" => Remedy::Url("create it with `create database`, or correct the database"),
        "42501" => Remedy::Server("have the owner of the database run `grant connect on database`"),
        "53300" => Remedy::Server("close other connections, or have an administrator raise the limit"),
        "57P03" => Remedy::Server("wait until the server accepts connections"),
        _ => return None,
    })
}

/// Whether the cause says more: which certificate, and why not.
fn is_about_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(cause) => !cause.to_string().contains("does not support TLS"),
        sqlx::Error::Io(cause) => of_io(cause).0 == "TLS failed",
        _ => false,
    }
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        match self.remedy {
            Some(Remedy::Url(remedy) | Remedy::Server(remedy)) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl StdError for ConnectionFault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // Without the driver's words.
        self.source.as_ref().and_then(StdError::source)
    }
}
