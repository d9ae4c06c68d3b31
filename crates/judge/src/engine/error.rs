//! Errors of the engine.

use embed::EmbedError;
use records::Service;
use store::storage::StorageError;

/// Why a request, or a run, was not carried out. Front ends choose a status or an exit code by the kind alone.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No object has this id.
    #[error("no {noun} has the id `{id}`")]
    NotFound {
        /// The kind of object.
        noun: &'static str,
        /// The id.
        id: String,
    },
    /// The request conflicts with an existing object or its state.
    #[error("`{field}`: {reason}")]
    Conflict {
        /// The part of the request that conflicts.
        field: String,
        /// The conflict, and what to do.
        reason: String,
    },
    /// The request cannot be carried out as it is.
    #[error("`{field}`: {reason}")]
    Refused {
        /// The part of the request, such as `models[1]`.
        field: String,
        /// The error, and what is expected.
        reason: String,
    },
    /// A dependency is unavailable: the same request may succeed later.
    #[error(transparent)]
    Unavailable(Fault),
    /// Any other failure: of a store, a service, a model or the engine.
    #[error(transparent)]
    Failed(Fault),
}

/// The dependency that is unavailable or failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A storage, or the judge's database.
    #[error(transparent)]
    Storage(StorageError),
    /// The embedding model.
    #[error("failed to embed the text")]
    Embed(#[source] EmbedError),
    /// A service that runs apart, which does not answer.
    #[error("the {service} service does not answer")]
    Service {
        /// Which.
        service: Service,
        /// Why not.
        source: reqwest::Error,
    },
    /// A service that runs apart, which gives an invalid answer.
    #[error("the {service} service {reason}")]
    Answer {
        /// Which.
        service: Service,
        /// What it did.
        reason: String,
    },
    /// A model that gave no output.
    #[error("model `{}` gave no output ({})", _0.model_id, _0.kind)]
    NoOutput(Box<NoOutput>),
    /// The engine itself.
    #[error("a handler panicked: {message}")]
    Panic {
        /// The message of the panic.
        message: String,
    },
}

/// A model's answer that is not an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoOutput {
    /// The model.
    pub model_id: String,
    /// The reason as a single word, for logs: the explanation may repeat the prompt.
    pub kind: &'static str,
    /// The provider's explanation.
    pub words: String,
    /// When a retry may succeed; `None` if it cannot.
    pub retry_after: Option<std::time::Duration>,
}

impl RunError {
    pub(crate) fn refused(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { field: field.into(), reason: reason.into() }
    }
}

impl From<StorageError> for RunError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Refused { field, reason } | StorageError::Unsupported { field, reason } => {
                Self::Refused { field, reason }
            }
            StorageError::TooLarge => Self::refused("limit", error.to_string()),
            StorageError::Unavailable { .. } | StorageError::Busy => Self::Unavailable(Fault::Storage(error)),
            StorageError::Failed { .. } => Self::Failed(Fault::Storage(error)),
        }
    }
}

impl From<EmbedError> for RunError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Overloaded { .. } => Self::Unavailable(Fault::Embed(error)),
            EmbedError::Tokenize { .. }
            | EmbedError::TooManyTexts { .. }
            | EmbedError::Damaged { .. }
            | EmbedError::Panicked { .. }
            | EmbedError::Stopped => Self::Failed(Fault::Embed(error)),
        }
    }
}

impl From<NoOutput> for RunError {
    fn from(none: NoOutput) -> Self {
        let is_transient = none.retry_after.is_some();
        let fault = Fault::NoOutput(Box::new(none));
        if is_transient { Self::Unavailable(fault) } else { Self::Failed(fault) }
    }
}
