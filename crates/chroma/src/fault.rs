//! Errors of parquet files.

use std::io;

use parquet::errors::ParquetError;

/// Why a parquet file cannot be decoded; [`Error::Parquet`](crate::Error::Parquet) names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParquetFault {
    /// The bytes are not those of a parquet file, or a number is out of the range that Chroma's files have.
    #[error("expected {expected} at byte {offset}, found {found}")]
    Unexpected {
        /// What was expected, with the limit if there is one.
        expected: String,
        /// Offset in the file.
        offset: u64,
        /// What was found.
        found: String,
    },
    /// A column is missing, or has another type than Chroma's.
    #[error("expected a column `{name}` of {expected}, found {found}")]
    Column {
        /// The column.
        name: &'static str,
        /// Its expected type.
        expected: &'static str,
        /// `none`, or its actual type.
        found: String,
    },
    /// The decoder returned an error.
    #[error(transparent)]
    Decoder(ParquetError),
    /// The decoder panicked on unexpected bytes.
    #[error("the decoder panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// An operating system error on reading, or the file has become shorter.
    #[error("failed to read {length} bytes at byte {offset}")]
    Io {
        /// Number of bytes to be read.
        length: usize,
        /// Offset in the file.
        offset: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The decoded size is out of proportion to the size of the file.
    #[error(
        "expected at most {limit_bytes} bytes of decoded values, found more: out of proportion to the size of the file, as in a decompression bomb"
    )]
    Expands {
        /// The limit.
        limit_bytes: u64,
    },
    /// The file was written to after it was opened, so that its parts may be inconsistent.
    #[error("the file was written to during the read; stop its writer and try again")]
    Changed,
}

/// Unwraps the errors of our own page reader, which the decoder wraps.
impl From<ParquetError> for ParquetFault {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast() {
                Ok(fault) => *fault,
                Err(source) => Self::Decoder(ParquetError::External(source)),
            },
            error => Self::Decoder(error),
        }
    }
}

impl From<ParquetFault> for ParquetError {
    fn from(fault: ParquetFault) -> Self {
        Self::External(Box::new(fault))
    }
}
