//! Errors of calls.

use std::error::Error as StdError;

use thiserror::Error as ThisError;

use super::{
    Rejection,
    kind::{Disposition, Kind},
};

/// Why a call returned no completion.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The provider's configuration is invalid.
    #[error("provider `{provider}` cannot be set up: {reason}")]
    Setup {
        /// Its name.
        provider: String,
        /// The problem.
        reason: &'static str,
        /// The cause, if it comes from another crate.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The connection failed.
    #[error("failed to connect to {address}")]
    Connect {
        /// The base URL.
        address: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// A timeout of silence or of the complete response.
    #[error("{address} did not respond in time")]
    Timeout {
        /// The base URL.
        address: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The response is incomplete.
    #[error("the response of {address} is incomplete")]
    Interrupted {
        /// The base URL.
        address: String,
        /// The cause; none if the connection was closed normally.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// A response with status 200 that is not a completion.
    #[error("expected {expected} in the response of {address}, found: {start}")]
    Malformed {
        /// The base URL.
        address: String,
        /// What was expected.
        expected: &'static str,
        /// The beginning of the response.
        start: String,
    },
    /// A response that exceeds the limits of this process. Another one would cost as much and be as large.
    #[error("expected {expected} in the response of {address}, found more")]
    TooLarge {
        /// The base URL.
        address: String,
        /// The limit.
        expected: &'static str,
    },
    /// Other responses that are being received use all the memory for responses.
    #[error("no memory for the response of {address}: too many large responses arrive at the same time")]
    MemoryExhausted {
        /// The base URL.
        address: String,
    },
    /// The provider responded with an error.
    #[error("{address} answered with status {}: {}", .rejection.status, .rejection.message)]
    Rejected {
        /// The base URL.
        address: String,
        /// The error.
        rejection: Rejection,
    },
}

impl Error {
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Setup { .. } => Kind::Setup,
            Self::Connect { .. } | Self::Interrupted { .. } => Kind::Connection,
            Self::Timeout { .. } => Kind::Timeout,
            // An HTML page: the base URL is that of a web site, or a proxy requires a login.
            Self::Malformed { start, .. } if start.starts_with('<') => Kind::NotFound,
            Self::Malformed { .. } | Self::TooLarge { .. } => Kind::Malformed,
            Self::MemoryExhausted { .. } => Kind::Overloaded,
            Self::Rejected { rejection, .. } => rejection.kind,
        }
    }

    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match (self, self.kind()) {
            (Self::Rejected { rejection, .. }, _) => rejection.disposition(),
            (Self::TooLarge { .. }, kind) => Disposition::Stop(kind),
            (_, kind) if kind.is_transient() => Disposition::Retry { after: None },
            (_, kind) => Disposition::Stop(kind),
        }
    }
}
