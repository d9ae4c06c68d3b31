//! What can go wrong with a request. Its status is chosen here; its body is written by [`crate::layers`], which knows
//! the request's id and logs what clients are not told.

use std::{sync::Arc, time::Duration};

use aide::OperationOutput;
use axum::{
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use embed::EmbedError;
use judge::engine::{Fault, NoOutput, RunError};
use records::{error_chain, shortened};
use store::storage::StorageError;

use super::envelope::{Check, Details, ErrorData, ErrorEnvelope, MESSAGE_CHARACTERS};

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The body is no JSON.
    #[error("malformed JSON: {reason}")]
    MalformedJson { reason: String },
    /// The body did not arrive.
    #[error("the body could not be read: send it again")]
    Body { source: axum::Error },
    /// The body took too long.
    #[error("the body did not arrive within {} s: send it faster, or less at once", limit.as_secs_f64())]
    SlowBody { limit: Duration },
    /// The path has an escape that is no UTF-8, or leads out of its place.
    #[error("malformed path: expected percent-encoded UTF-8 without the segments `.` and `..`")]
    Path,
    /// A field or parameter is not what it has to be.
    #[error("`{field}`: {reason}")]
    Invalid { field: String, reason: String },
    /// The key is missing or wrong.
    #[error("expected the server's API key in the header X-API-Key")]
    Unauthorized,
    /// The request is for another host.
    #[error(
        "`{host}` is no host of this server, as the header Host says: send it to localhost, 127.0.0.1 or [::1], or add the name to the server's allowed hosts"
    )]
    Host { host: String },
    /// A page of another origin sent the request.
    #[error(
        "a page of another origin sent the request (`{origin}`): add the origin to the server's CORS origins if it may"
    )]
    Origin { origin: String },
    /// There is no such route.
    #[error("no route `{path}`: see /docs for those that there are")]
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
    /// The body is something else than JSON.
    #[error("expected a body of type application/json, found `{found}`")]
    MediaType { found: String },
    /// Too many requests at once.
    #[error("too many requests at once ({limit}): try again")]
    Busy { limit: usize },
    /// Too many large bodies at once.
    #[error("too many large requests at once: try again, or send less at once")]
    NoRoom,
    /// It took too long.
    #[error("the request took longer than {} s and was given up", limit.as_secs_f64())]
    Timeout { limit: Duration },
    /// A service behind the gateway does not answer.
    #[error("the {service} service does not answer")]
    Gateway { service: records::Service, source: reqwest::Error },
    /// A service that runs apart gives an answer that is none.
    #[error("the {service} service {reason}")]
    Upstream { service: records::Service, reason: String },
    /// A model gave no output that could be judged.
    #[error("model `{}` gave no output ({})", _0.model_id, _0.kind)]
    NoOutput(Box<NoOutput>),
    /// The store failed, or refuses the input.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The text was not embedded.
    #[error("failed to embed the text")]
    Embed(#[from] EmbedError),
    /// Something is not in order; what, is told to those who have the key.
    #[error("not ready")]
    NotReady { checks: Option<Vec<Check>> },
    /// A handler panicked.
    #[error("a handler panicked: {message}")]
    Panic { message: String },
}

/// Characters of a name from outside that an error repeats: it may have megabytes.
pub(crate) const SHOWN_CHARACTERS: usize = 100;
/// The error of a response, for the layer that writes its body.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) Arc<ApiError>);

/// What clients are told of our own faults.
const INTERNAL: &str = "internal error: give the request id to whoever runs this server";

impl ApiError {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::MalformedJson { .. } | Self::Body { .. } | Self::Path => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Host { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin { .. } => StatusCode::FORBIDDEN,
            Self::NoRoute { .. } | Self::NoRecord { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy { .. } | Self::NoRoom | Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Gateway { .. } | Self::Upstream { .. } => StatusCode::BAD_GATEWAY,
            Self::NoOutput(none) => match none.retry_after {
                None => StatusCode::BAD_GATEWAY,
                Some(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Storage(error) => match error {
                StorageError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                StorageError::Refused { .. } | StorageError::Unsupported { .. } | StorageError::TooLarge => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                StorageError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
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

    /// When to try again, if that may help: a queue empties and a server restarts within seconds.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoOutput(none) => none.retry_after,
            _ => (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1)),
        }
    }

    /// Which input is wrong, if one is.
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

    /// What clients are told.
    pub(crate) fn public_message(&self) -> String {
        match self {
            Self::NoOutput(none) => format!("{self}: {}", none.words),
            _ if self.status() == StatusCode::INTERNAL_SERVER_ERROR => INTERNAL.to_owned(),
            _ => self.to_string(),
        }
    }

    /// The whole chain of causes, cut where it repeats what was sent.
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
                Fault::Service { service, source } => Self::Gateway { service, source },
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
    // The documents' errors are added in one place, `crate::openapi`.
    type Inner = ErrorEnvelope;
}
