//! Kinds of failures, and whether a retry may succeed.

use std::{fmt, time::Duration};

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Too many calls or tokens in too short a time.
    RateLimited,
    /// The provider is overloaded, or this process by its responses.
    Overloaded,
    /// The model is being loaded.
    Loading,
    /// The provider failed.
    ServerError,
    /// A timeout.
    Timeout,
    /// No connection, or a broken one.
    Connection,
    /// A response that cannot be parsed.
    Malformed,
    /// No credit, no plan, or a limit that lasts for days.
    QuotaExhausted,
    /// A request larger than the provider's limits.
    RequestTooLarge,
    /// Prompt and answer exceed the model's context.
    ContextTooLong,
    /// The provider or its filter declined the content.
    ContentRefused,
    /// The request is invalid for this model or provider.
    BadRequest,
    /// A missing or invalid key.
    Unauthorized,
    /// The key does not allow it.
    Forbidden,
    /// The model or address does not exist.
    NotFound,
    /// The provider's configuration is invalid.
    Setup,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Retry, not before `after` if the provider said so.
    Retry {
        /// The provider's hint.
        after: Option<Duration>,
    },
    /// A retry would fail the same way.
    Stop(Kind),
}

impl Kind {
    /// The name in storage and metrics.
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

    /// Whether a retry may succeed.
    pub fn is_transient(self) -> bool {
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

    /// Whether it means that the provider gets too many calls.
    pub fn asks_to_slow_down(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
