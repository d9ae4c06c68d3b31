//! What went wrong with a call, and whether another attempt may help.

use std::{error::Error as StdError, fmt, time::Duration};

use thiserror::Error as ThisError;

use super::Rejection;

/// Why a call brought no completion.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The provider's configuration is wrong.
    #[error("provider `{provider}` cannot be set up: {reason}")]
    Setup {
        /// Its name.
        provider: String,
        /// What is wrong.
        reason: &'static str,
        /// The cause, if another crate found it.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// There is no connection.
    #[error("failed to connect to {address}")]
    Connect {
        /// The base URL.
        address: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came for too long, or the answer took too long in all.
    #[error("{address} did not answer in time")]
    Timeout {
        /// The base URL.
        address: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The answer ends before its end.
    #[error("the answer of {address} broke off")]
    Interrupted {
        /// The base URL.
        address: String,
        /// The cause; none if the connection ended in good order.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// An answer with status 200 that is none.
    #[error("{address} answered, but without {expected}: {start}")]
    Malformed {
        /// The base URL.
        address: String,
        /// What was expected.
        expected: &'static str,
        /// How the answer begins.
        start: String,
    },
    /// The answers of other calls, which are being read too, took all the memory that there is for answers.
    #[error("there was no memory for the answer of {address}: too many large answers arrive at once")]
    NoRoom {
        /// The base URL.
        address: String,
    },
    /// The provider answered with an error.
    #[error("{address} answered with status {}: {}", .rejection.status, .rejection.message)]
    Rejected {
        /// The base URL.
        address: String,
        /// The error.
        rejection: Rejection,
    },
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Too many calls or tokens in too short a time.
    RateLimited,
    /// The provider has too much to do, or this process with its answers.
    Overloaded,
    /// The model is being loaded.
    Loading,
    /// The provider failed.
    ServerError,
    /// No answer in time.
    Timeout,
    /// No connection, or one that broke off.
    Connection,
    /// An answer that cannot be read.
    Malformed,
    /// No money, no plan, or a limit that lasts for days.
    QuotaExhausted,
    /// More in one request than the provider ever takes.
    RequestTooLarge,
    /// Prompt and answer do not fit into the model's context.
    ContextTooLong,
    /// The provider or its filter declined the content.
    ContentRefused,
    /// The request is wrong for this model or provider.
    BadRequest,
    /// No key, or a wrong one.
    Unauthorized,
    /// The key does not allow it.
    Forbidden,
    /// There is no such model or address.
    NotFound,
    /// The provider's configuration is wrong.
    Setup,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It may pass, not before `after` if the provider said so.
    Retry {
        /// The provider's hint.
        after: Option<Duration>,
    },
    /// Another attempt would fail the same way.
    Stop(Kind),
}

impl Kind {
    /// The name under which it is stored and counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Loading => "loading",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Malformed => "malformed",
            Self::QuotaExhausted => "quota_exhausted",
            Self::RequestTooLarge => "request_too_large",
            Self::ContextTooLong => "context_too_long",
            Self::ContentRefused => "content_refused",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Setup => "setup",
        }
    }

    /// Whether another attempt may succeed.
    pub fn may_pass(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Loading
            | Self::ServerError
            | Self::Timeout
            | Self::Connection
            | Self::Malformed => true,
            Self::QuotaExhausted
            | Self::RequestTooLarge
            | Self::ContextTooLong
            | Self::ContentRefused
            | Self::BadRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::Setup => false,
        }
    }

    /// Whether it says that the provider gets more calls than it wants.
    pub fn asks_to_slow_down(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Setup { .. } => Kind::Setup,
            Self::Connect { .. } | Self::Interrupted { .. } => Kind::Connection,
            Self::Timeout { .. } => Kind::Timeout,
            // A page for people: the base URL leads to a web site, or a proxy wants a log-in.
            Self::Malformed { start, .. } if start.starts_with('<') => Kind::NotFound,
            Self::Malformed { .. } => Kind::Malformed,
            Self::NoRoom { .. } => Kind::Overloaded,
            Self::Rejected { rejection, .. } => rejection.kind,
        }
    }

    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match (self, self.kind()) {
            (Self::Rejected { rejection, .. }, _) => rejection.disposition(),
            (_, kind) if kind.may_pass() => Disposition::Retry { after: None },
            (_, kind) => Disposition::Stop(kind),
        }
    }
}
