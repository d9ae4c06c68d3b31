//! What can go wrong with a storage, by what its caller can do about it.

use records::Service;

/// Bytes of the records of an answer, one record at least. Smaller, and lists of long texts need small pages; larger, and
/// few clients take all memory.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// An operation on a storage failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The store does not answer, or not now. The same operation may succeed later.
    #[error("the {service} storage does not answer")]
    Unavailable {
        /// Whose storage.
        service: Service,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The input cannot be stored or asked for, on any store.
    #[error("`{field}`: {reason}")]
    Refused {
        /// The part of the input, such as `metadata.source` or `where.$and[1]`.
        field: String,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// This store cannot do what was asked.
    #[error("`{field}`: {reason}")]
    Unsupported {
        /// The part of the input that asks for it.
        field: String,
        /// What the store lacks, and where to find it.
        reason: String,
    },
    /// What was asked for has more bytes than an answer may.
    #[error(
        "the answer would have more than {MAX_ANSWER_BYTES} bytes: use a smaller `limit`, fewer ids, or an export"
    )]
    TooLarge,
    /// Anything else: a fault of the store or of ours.
    #[error("failed to {operation}")]
    Failed {
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
