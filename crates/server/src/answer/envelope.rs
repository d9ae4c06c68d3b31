//! The contract's envelope.

use records::{shortened, timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// Something that has to be in order.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: String,
    /// Whether it is in order.
    pub(crate) ready: bool,
    /// What is wrong with it.
    pub(crate) reason: Option<String>,
}

/// Which input is wrong, and why.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Details {
    /// The field or parameter, such as `items[3].metadata.source`.
    pub(crate) field: String,
    /// What is wrong with it, and what is expected.
    pub(crate) reason: String,
}

/// Characters of a message or a reason. Ours are shorter; longer ones repeat what was sent.
pub(super) const MESSAGE_CHARACTERS: usize = 2_000;
/// Characters of a place: deeper ones than people write.
const FIELD_CHARACTERS: usize = 500;

impl Details {
    /// Cut to what people read.
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
    /// What was done, for people.
    message: String,
    /// When, UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}$"))]
    timestamp: String,
}

/// A failure.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorEnvelope {
    status: Failure,
    /// What the client can change, or what to tell the operator.
    data: Option<ErrorData>,
    /// What went wrong, for people.
    message: String,
    /// When, UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}$"))]
    timestamp: String,
}

/// What a client or its operator can act on.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ErrorData {
    /// Of a refused input.
    Input(Details),
    /// Of a failure that is not the client's.
    Request {
        /// What the log calls the request.
        request_id: String,
    },
    /// Of a process that is not ready.
    Checks {
        /// What was looked at.
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
