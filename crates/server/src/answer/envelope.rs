//! The contract's envelope.

use records::{shortened, timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// One check of `/ready`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// What was checked.
    pub(crate) name: String,
    /// Whether the check passed.
    pub(crate) ready: bool,
    /// Why the check failed.
    pub(crate) reason: Option<String>,
}

/// The invalid input and the reason.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Details {
    /// The field or parameter, such as `items[3].metadata.source`.
    pub(crate) field: String,
    /// What is wrong with it, and what is expected.
    pub(crate) reason: String,
}

/// Maximum characters of a message or a reason. Only those that repeat client input are longer.
pub(super) const MESSAGE_CHARACTERS: usize = 2_000;
/// Maximum characters of a field path.
const FIELD_CHARACTERS: usize = 500;

impl Details {
    /// Truncated to [`FIELD_CHARACTERS`] and [`MESSAGE_CHARACTERS`].
    pub(crate) fn new(field: &str, reason: &str) -> Self {
        let [field, reason] = [(field, FIELD_CHARACTERS), (reason, MESSAGE_CHARACTERS)]
            .map(|(text, characters)| shortened(text, characters).into_owned());
        Self { field, reason }
    }
}

/// A success.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Envelope<T> {
    status: Success,
    data: T,
    /// What was done, as a sentence.
    message: String,
    /// When, in UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}$"))]
    timestamp: String,
}

/// A failure.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorEnvelope {
    status: Failure,
    /// What the client can change, or what to tell the operator.
    data: Option<ErrorData>,
    /// What went wrong, as a sentence.
    message: String,
    /// When, in UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}$"))]
    timestamp: String,
}

/// What a client or its operator can act on.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ErrorData {
    /// For an invalid input.
    Input(Details),
    /// For a failure that the client did not cause.
    Request {
        /// The request's id in the log.
        request_id: String,
    },
    /// For a process that is not ready.
    Checks {
        /// What was checked.
        checks: Vec<Check>,
    },
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Success {
    Success,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Failure {
    Error,
}

impl<T> Envelope<T> {
    pub(crate) fn new(data: T, message: &str) -> Self {
        let message = message.to_owned();
        Self { status: Success::Success, data, message, timestamp: timestamp::format(timestamp::now()) }
    }
}

impl ErrorEnvelope {
    pub(crate) fn new(data: Option<ErrorData>, message: String) -> Self {
        Self { status: Failure::Error, data, message, timestamp: timestamp::format(timestamp::now()) }
    }
}
