//! Errors of a storage, by what the caller can do about them.

use records::Service;

/// Maximum bytes of a response's records, except for a single record. With a smaller limit, lists of long texts need
/// small pages; with a larger one, few clients could exhaust memory.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The server in use accepts no writes, as a cause of [`StorageError::Unavailable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database server is a standby, or its transactions are read-only")]
pub struct ReadOnlyServer;

/// What an unavailable store does, which clients are told.
pub(crate) fn unavailability(source: &(dyn std::error::Error + Send + Sync + 'static)) -> &'static str {
    if source.is::<ReadOnlyServer>() {
        "accepts no writes at present: its database server is a standby or read-only"
    } else {
        "does not answer"
    }
}

/// An operation on a storage failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The store is unavailable. The same operation may succeed later.
    #[error("the {service} storage {}", unavailability(.source.as_ref()))]
    Unavailable {
        /// The service of the storage.
        service: Service,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The input cannot be stored or searched in any store.
    #[error("`{field}`: {reason}")]
    Refused {
        /// The part of the input, such as `metadata.source` or `where.$and[1]`.
        field: String,
        /// The problem, and what is expected.
        reason: String,
    },
    /// This store does not support the operation.
    #[error("`{field}`: {reason}")]
    Unsupported {
        /// The part of the input that requires it.
        field: String,
        /// What the store lacks, and which one supports it.
        reason: String,
    },
    /// The result exceeds the maximum size of a response.
    #[error("the response would have more than {MAX_ANSWER_BYTES} bytes: request less at once")]
    TooLarge,
    /// The process uses too much memory for a large response. The same operation may succeed later.
    #[error("too much memory is in use: retry later, or request less")]
    Busy,
    /// Any other error of the store or of Panopticon.
    #[error("failed to {operation}")]
    Failed {
        /// The operation, as a verb phrase.
        operation: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
