//! Errors of a request. This module chooses the status; [`crate::layers`] writes the body, since it knows the
//! request's id, and logs what clients are not shown.

use std::{sync::Arc, time::Duration};

use aide::OperationOutput;
use axum::{
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use embed::EmbedError;
use judge::engine::{Fault, NoOutput, RunError};
use records::{error_chain, shortened};
use store::{postgres::collections::CollectionError, storage::StorageError};

use super::envelope::{Check, Details, ErrorData, ErrorEnvelope, MESSAGE_CHARACTERS};

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The body is not JSON.
    #[error("malformed JSON: {reason}")]
    MalformedJson { reason: String },
    /// The body did not arrive.
    #[error("the body could not be read: send it again")]
    Body { source: axum::Error },
    /// The body took too long.
    #[error("the body did not arrive within {} s: send it faster, or less at once", limit.as_secs_f64())]
    SlowBody { limit: Duration },
    /// The path has an escape that is not UTF-8, or a dot segment.
    #[error("malformed path: expected percent-encoded UTF-8 without the segments `.` and `..`")]
    Path,
    /// A field or parameter is invalid.
    #[error("`{field}`: {reason}")]
    Invalid { field: String, reason: String },
    /// The key is missing or wrong.
    #[error("expected the server's API key in the header X-API-Key")]
    Unauthorized,
    /// The request is for another host.
    #[error(
        "the header Host names `{host}`, which is not an allowed host of this server: send the request to \
            localhost, 127.0.0.1 or [::1], or add the name to the server's {setting}"
    )]
    Host { host: String, setting: &'static str },
    /// A page of another origin sent the request.
    #[error(
        "a page of another origin sent the request (`{origin}`): to allow it, add the origin to the \
            server's {setting}"
    )]
    Origin { origin: String, setting: &'static str },
    /// A form of the console was not sent by a page of this session.
    #[error("the form has expired: load the page again and send it again")]
    Form,
    /// There is no such route.
    #[error("no route `{path}`: see /docs for the existing routes")]
    NoRoute { path: String },
    /// There is no such record.
    #[error("no {noun} has the id `{id}`")]
    NoRecord { noun: &'static str, id: String },
    /// The route has other methods.
    #[error("`{path}` does not take {method}: see the header Allow for what it takes")]
    Method { method: Method, path: String },
    /// Another record has the id.
    #[error("`{field}`: {reason}")]
    Conflict { field: String, reason: String },
    /// The body is too large.
    #[error("the body is larger than {limit_bytes} bytes: send less at once")]
    TooLarge { limit_bytes: usize },
    /// The body's media type is not JSON.
    #[error("expected a body of type application/json, found `{found}`")]
    MediaType { found: String },
    /// Too many requests at once.
    #[error("too many requests at once ({limit}): try again")]
    Busy { limit: usize },
    /// Too many large bodies at once.
    #[error("too many large requests at once: try again, or send less at once")]
    MemoryExhausted,
    /// The request took too long.
    #[error("the request took longer than {} s and was aborted", limit.as_secs_f64())]
    Timeout { limit: Duration },
    /// A service behind the gateway does not answer.
    #[error("the {service} service does not answer")]
    Gateway { service: &'static str, source: reqwest::Error },
    /// A separate service returned an invalid response.
    #[error("the {service} service {reason}")]
    Upstream { service: records::Service, reason: String },
    /// A model gave no output that could be judged.
    #[error("model `{}` gave no output ({})", _0.model_id, _0.kind)]
    NoOutput(Box<NoOutput>),
    /// The store failed, or refuses the input.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An operation on a collection that Chroma clients see failed.
    #[error(transparent)]
    Collection(#[from] CollectionError),
    /// The text was not embedded.
    #[error("failed to embed the text")]
    Embed(#[from] EmbedError),
    /// A check failed; the details are only for clients with the key.
    #[error("not ready")]
    NotReady { checks: Option<Vec<Check>> },
    /// A handler panicked.
    #[error("a handler panicked: {message}")]
    Panic { message: String },
}

/// Maximum characters of a client's name that an error repeats: the name may have megabytes.
pub(crate) const SHOWN_CHARACTERS: usize = 100;
/// The error of a response, for the layer that writes its body.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) Arc<ApiError>);

/// What clients are shown of internal errors.
const INTERNAL: &str = "internal error: contact the server operator with this request id";

impl ApiError {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// The same error of a part of the request: an invalid field is one of `part`.
    pub(crate) fn within(self, part: &str) -> Self {
        match self {
            Self::Invalid { field, reason } | Self::Storage(StorageError::Refused { field, reason }) => {
                Self::Invalid { field: format!("{part}.{field}"), reason }
            }
            error => error,
        }
    }

    /// The HTTP status of the response.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::MalformedJson { .. } | Self::Body { .. } | Self::Path => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Host { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin { .. } | Self::Form => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } | Self::NoRecord { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy { .. } | Self::MemoryExhausted | Self::NotReady { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Gateway { .. } | Self::Upstream { .. } => StatusCode::BAD_GATEWAY,
            Self::NoOutput(none) => match none.retry_after {
                None => StatusCode::BAD_GATEWAY,
                Some(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Storage(error) => match error {
                StorageError::Unavailable { .. } | StorageError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                StorageError::Refused { .. } | StorageError::Unsupported { .. } | StorageError::TooLarge => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                StorageError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Collection(error) => match error {
                CollectionError::NotFound | CollectionError::NoDatabase => StatusCode::NOT_FOUND,
                CollectionError::Taken => StatusCode::CONFLICT,
                CollectionError::Dimension { .. }
                | CollectionError::Unsupported { .. }
                | CollectionError::TooLarge => StatusCode::UNPROCESSABLE_ENTITY,
                CollectionError::Busy | CollectionError::Unavailable { .. } => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                CollectionError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Embed(error) => match error {
                EmbedError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
                EmbedError::Tokenize { .. }
                | EmbedError::TooManyTexts { .. }
                | EmbedError::Damaged { .. }
                | EmbedError::Panicked { .. }
                | EmbedError::Stopped => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Panic { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to retry, if that may help: a queue empties and a server restarts within seconds.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoOutput(none) => none.retry_after,
            _ => (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1)),
        }
    }

    /// The invalid input, if any.
    pub(crate) fn details(&self) -> Option<Details> {
        match self {
            Self::Invalid { field, reason }
            | Self::Conflict { field, reason }
            | Self::Storage(
                StorageError::Refused { field, reason } | StorageError::Unsupported { field, reason },
            ) => Some(Details::new(field, reason)),
            Self::Storage(StorageError::TooLarge) => Some(Details::new("limit", &self.to_string())),
            _ => None,
        }
    }

    /// The body of the answer to the request `request_id`.
    pub(crate) fn envelope(&self, request_id: &str) -> ErrorEnvelope {
        let request = || Some(ErrorData::Request { request_id: request_id.to_owned() });
        if let Self::NotReady { checks: Some(checks) } = self {
            return ErrorEnvelope::new(Some(ErrorData::Checks { checks: checks.clone() }), self.to_string());
        }
        let data =
            if self.status().is_server_error() { request() } else { self.details().map(ErrorData::Input) };
        ErrorEnvelope::new(data, shortened(&self.public_message(), MESSAGE_CHARACTERS).into_owned())
    }

    /// The message for clients.
    pub(crate) fn public_message(&self) -> String {
        match self {
            Self::NoOutput(none) => format!("{self}: {}", none.words),
            _ if self.status() == StatusCode::INTERNAL_SERVER_ERROR => INTERNAL.to_owned(),
            _ => self.to_string(),
        }
    }

    /// The chain of causes, truncated where it repeats client input.
    pub(crate) fn chain(&self) -> String {
        error_chain(self)
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::NotFound { noun, id } => Self::NoRecord { noun, id },
            RunError::Conflict { field, reason } => Self::Conflict { field, reason },
            RunError::Refused { field, reason } => Self::Invalid { field, reason },
            RunError::Unavailable(fault) | RunError::Failed(fault) => match fault {
                Fault::Storage(error) => Self::Storage(error),
                Fault::Embed(error) => Self::Embed(error),
                Fault::Service { service, source } => Self::Gateway { service: service.as_str(), source },
                Fault::Answer { service, reason } => Self::Upstream { service, reason },
                Fault::NoOutput(none) => Self::NoOutput(none),
                Fault::Panic { message } => Self::Panic { message },
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Failed(Arc::new(self)));
        response
    }
}

impl OperationOutput for ApiError {
    // `crate::openapi` adds the errors to all operations.
    type Inner = ErrorEnvelope;
}
