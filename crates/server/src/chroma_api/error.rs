//! Errors of handlers.

use aide::OperationOutput;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use records::{error_chain, shortened};
use store::postgres::collections::CollectionError;

use super::json::Json;
use crate::answer::{ApiError, ChromaError};

/// Maximum characters of a message. Only those that repeat what the client sent are longer.
const MESSAGE_CHARACTERS: usize = 4_000;

/// A request that was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// As Chroma answers.
    Chroma(StatusCode, String),
    /// An error of a layer below, which `crate::layers` writes.
    Other(ApiError),
}

pub(super) type Answered<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Chroma(StatusCode::BAD_REQUEST, message.into())
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::Chroma(StatusCode::NOT_FOUND, message.into())
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::Chroma(StatusCode::CONFLICT, message.into())
    }

    /// Whether the request might be carried out if the collection has changed since it was read.
    pub(super) fn may_be_outdated(&self) -> bool {
        matches!(self, Self::Chroma(status, _) if status.is_client_error() && *status != StatusCode::PAYLOAD_TOO_LARGE)
    }

    pub(super) fn not_implemented(message: impl Into<String>) -> Self {
        Self::Chroma(StatusCode::NOT_IMPLEMENTED, message.into())
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

/// Those that a handler does not answer itself.
impl From<CollectionError> for Refusal {
    fn from(error: CollectionError) -> Self {
        let internal = |status: StatusCode, error: &CollectionError| {
            tracing::error!(error = %error_chain(error), "failed with {status}");
        };
        match error {
            CollectionError::NotFound => Self::not_found("Collection does not exist."),
            CollectionError::NoDatabase => Self::not_found("Database does not exist."),
            CollectionError::Taken => Self::conflict("The name is taken"),
            CollectionError::Dimension { expected, found } => Self::invalid(format!(
                "Collection expecting embedding with dimension of {expected}, got {found}"
            )),
            CollectionError::Unsupported { reason } => Self::invalid(reason),
            error @ CollectionError::TooLarge => {
                Self::Chroma(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
            }
            error @ CollectionError::Busy => Self::Chroma(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            error @ CollectionError::Unavailable { .. } => {
                internal(StatusCode::SERVICE_UNAVAILABLE, &error);
                Self::Chroma(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            error @ CollectionError::Failed { .. } => {
                internal(StatusCode::INTERNAL_SERVER_ERROR, &error);
                let message = "internal error: see the log of the server";
                Self::Chroma(StatusCode::INTERNAL_SERVER_ERROR, message.to_owned())
            }
        }
    }
}

/// `crate::openapi` documents the errors of all routes.
impl OperationOutput for Refusal {
    type Inner = ();
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Chroma(status, message) => {
                let message = shortened(&message, MESSAGE_CHARACTERS);
                let mut response = (status, Json(ChromaError::new(status, message))).into_response();
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                }
                response
            }
            Self::Other(error) => error.into_response(),
        }
    }
}
