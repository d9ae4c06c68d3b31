//! What is wrong with a parquet file.

use std::io;

use parquet::errors::ParquetError;

/// Why a parquet file cannot be decoded; [`Error::Parquet`](crate::Error::Parquet) names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParquetFault {
    /// Bytes that no parquet file has, or numbers that none of Chroma's has.
    #[error("expected {expected} at byte {offset}, found {found}")]
    Unexpected {
        /// What belongs there, with the limit if it is one.
        expected: String,
        /// Where in the file.
        offset: u64,
        /// What is there.
        found: String,
    },
    /// A column is absent, or of another type than Chroma's.
    #[error("expected a column `{name}` of {expected}, found {found}")]
    Column {
        /// The column.
        name: &'static str,
        /// Its type.
        expected: &'static str,
        /// `none`, or the type that it has.
        found: String,
    },
    /// The decoder refused the bytes.
    #[error(transparent)]
    Decoder(ParquetError),
    /// The decoder met bytes that it does not expect, and broke off.
    #[error("the decoder broke off: {message}")]
    BrokenOff {
        /// What it said.
        message: String,
    },
    /// The operating system refused to read, or the file has become shorter.
    #[error("failed to read {length} bytes at byte {offset}")]
    Io {
        /// How many bytes were wanted.
        length: usize,
        /// From where in the file.
        offset: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Decoded, the file is out of all proportion.
    #[error(
        "expected at most {limit_bytes} bytes in all once decoded, found more: it is far larger than a file of its size can be, and made to exhaust its reader"
    )]
    Expands {
        /// The limit.
        limit_bytes: u64,
    },
    /// Somebody wrote to the file after it was opened, so that its parts do not belong together.
    #[error("the file was written to during the read; stop its writer and try again")]
    Changed,
}

/// The decoder wraps what our own page reader tells it; this takes it out again.
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
