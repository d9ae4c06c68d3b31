//! Errors of collections, by what a client can do about them.

use crate::{
    postgres::{
        bounded::AnswerTooLarge,
        concise_error::concise,
        failure::{connection_problem, is_invalid_pattern, is_transient},
        replicas::{Fault, ReadFailure, fault_of},
    },
    storage::unavailability,
};

/// Maximum bytes of the records of an answer. With a lower limit, clients that read whole collections fail earlier; with a
/// higher one, few of them exhaust memory.
pub(crate) const MAX_RECORDS_BYTES: usize = 64 << 20;

/// An operation on collections or their records failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// There is no such collection, or it was deleted meanwhile.
    #[error("the collection does not exist")]
    NotFound,
    /// There is no such database.
    #[error("the database does not exist")]
    NoDatabase,
    /// Another one has the name.
    #[error("the name is taken")]
    Taken,
    /// A vector has another number of components than those of the collection.
    #[error("expected vectors of {expected} components, found {found}")]
    Dimension {
        /// Of the collection.
        expected: usize,
        /// Of the vector.
        found: usize,
    },
    /// PostgreSQL cannot do it.
    #[error("{reason}")]
    Unsupported {
        /// What it cannot do, and what to do instead.
        reason: String,
    },
    /// The records or collections exceed the size of a response, or of a batch.
    #[error(
        "more than {MAX_RECORDS_BYTES} bytes would be read: use a smaller limit, include less, or change fewer records at once"
    )]
    TooLarge,
    /// The process uses too much memory for a large answer. The same operation may succeed later.
    #[error("too much memory is in use: retry later, or request less")]
    Busy,
    /// The database is unavailable. The same operation may succeed later.
    #[error("the database {}", unavailability(.source.as_ref()))]
    Unavailable {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Any other error.
    #[error("failed to {operation}")]
    Failed {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ReadFailure for CollectionError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unavailable { source } | Self::Failed { source, .. } => fault_of(&**source),
            Self::NotFound
            | Self::NoDatabase
            | Self::Taken
            | Self::Dimension { .. }
            | Self::Unsupported { .. }
            | Self::TooLarge
            | Self::Busy => Fault::Request,
        }
    }
}

/// Turns a statement's error into that of `operation`, a verb phrase.
pub(crate) fn failing(operation: &'static str) -> impl Fn(sqlx::Error) -> CollectionError {
    const UNDEFINED_TABLE: &str = "42P01";
    move |error| {
        let error = concise(error);
        let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        if matches!(&error, sqlx::Error::Decode(cause) if cause.is::<AnswerTooLarge>()) {
            CollectionError::TooLarge
        } else if code.as_deref() == Some(UNDEFINED_TABLE) {
            // Another client has deleted the collection.
            CollectionError::NotFound
        } else if is_invalid_pattern(&error) {
            CollectionError::Unsupported {
                reason: "the regular expression is too large: use fewer or smaller repetitions".to_owned(),
            }
        } else if is_transient(&error) {
            CollectionError::Unavailable { source: connection_problem(error) }
        } else {
            CollectionError::Failed { operation, source: error.into() }
        }
    }
}
