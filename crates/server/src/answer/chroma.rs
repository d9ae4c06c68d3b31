//! Errors in the form of Chroma's API.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::ApiError;

/// The body of an error. Clients choose their exception by `error`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(crate) struct ChromaError {
    pub(crate) error: &'static str,
    pub(crate) message: String,
}

impl ChromaError {
    /// The error that Chroma gives with `status`.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let error = match status {
            StatusCode::BAD_REQUEST => "InvalidArgumentError",
            StatusCode::NOT_FOUND => "NotFoundError",
            StatusCode::UNAUTHORIZED => "AuthError",
            StatusCode::TOO_MANY_REQUESTS => "RateLimitError",
            StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
            StatusCode::GONE => "Unimplemented",
            _ => "ChromaError",
        };
        Self { error, message: message.into() }
    }
}

impl ApiError {
    /// The body of the answer to a Chroma client; `None` where Chroma sends none.
    pub(crate) fn chroma(&self) -> Option<ChromaError> {
        match self {
            Self::NoRoute { .. } | Self::Method { .. } => None,
            Self::MediaType { .. } => Some(ChromaError::new(
                self.status(),
                "Expected request with `Content-Type: application/json`",
            )),
            Self::Unauthorized => Some(ChromaError::new(
                self.status(),
                "expected the server's API key in the header X-Chroma-Token, Authorization (Bearer) or X-API-Key",
            )),
            error => Some(ChromaError::new(error.status(), error.public_message())),
        }
    }
}
