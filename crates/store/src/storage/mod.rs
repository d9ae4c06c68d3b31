//! The storage interface of a service, which all back ends implement identically.
//!
//! [`Storage`] has two implementations, for PostgreSQL and for ChromaDB. They return the same results; operations
//! that ChromaDB lacks are emulated.

mod cursor;
mod error;
mod filter;
pub(crate) mod folding;
mod pattern;
mod record;
mod record_filter;
mod selection;

use std::fmt;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use records::Service;

pub use cursor::{Cursor, InvalidCursor};
pub(crate) use cursor::{read_time, write_time};
pub(crate) use error::unavailability;
pub use error::{MAX_ANSWER_BYTES, ReadOnlyServer, StorageError};
pub use filter::{Comparison, DocumentFilter, DocumentTest, Filter, FilterError, Scalar, Test};
#[cfg(any(test, fuzzing))]
pub(crate) use folding::unfold as unfolded;
pub use pattern::Pattern;
pub use record::{Change, Insertion, NewRecord, Production, Record};
pub(crate) use record::{check_text, kept_keys};
pub use record_filter::RecordFilter;
pub use selection::{CategoryCount, Effort, Hit, Scan, Search, SearchMode, Selection, Start};

/// Maximum bytes of records that an export holds at once, except for a single record.
pub(crate) const EXPORT_BYTES: usize = 2 << 20;

/// The kind of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageKind {
    /// PostgreSQL with pgvector.
    Postgres,
    /// A ChromaDB server.
    Chroma,
}

/// What to do with a batch if one of its records cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomicity {
    /// Store none of its records.
    AllOrNothing,
    /// Store the other records.
    Each,
}

/// The records of one service.
///
/// Records are ordered newest first: by [`Record::created_at`], then by [`records::stored_id`], both descending;
/// records without a time come first in PostgreSQL, which has them only in tables of the old services, and last in
/// ChromaDB. An id identifies a record only if it is exactly [`Record::id`].
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// The service of the records.
    fn service(&self) -> Service;

    /// The kind of the storage.
    fn kind(&self) -> StorageKind;

    /// Checks that the store is available and usable.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when it is unavailable; else the reason why it cannot be used.
    async fn check(&self) -> Result<(), StorageError>;

    /// Checks that the store accepts writes, as far as possible without writing.
    ///
    /// # Errors
    /// When it does not, for instance because it is read-only or its disk is full.
    async fn check_writes(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Stores `records`, and returns the outcome of each, in order. An existing record with the same id is not
    /// changed: the outcome is [`Insertion::Unchanged`] if it is equal ([`NewRecord::is_same`]), else
    /// [`Insertion::Conflict`]. With [`Atomicity::AllOrNothing`], one conflict means that nothing is stored. Two
    /// records with one id in a batch are treated as inserted one after the other.
    ///
    /// # Errors
    /// When the store fails. Then with [`Atomicity::AllOrNothing`] nothing is stored.
    async fn insert(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError>;

    /// The existing records with these ids, in order.
    ///
    /// # Errors
    /// When the store fails.
    async fn get(&self, ids: &[String]) -> Result<Vec<Record>, StorageError>;

    /// Changes the record `id`, and returns its new state; `None` if it does not exist.
    ///
    /// # Errors
    /// When the store fails.
    async fn update(&self, id: &str, change: &Change) -> Result<Option<Record>, StorageError>;

    /// Deletes the records with these ids, and returns the ids of those that existed, in order.
    ///
    /// # Errors
    /// When the store fails.
    async fn delete(&self, ids: &[String]) -> Result<Vec<String>, StorageError>;

    /// Up to `limit` of the selected records from `start` on, newest first.
    ///
    /// # Errors
    /// When the store fails, or does not support the selection.
    async fn list(
        &self,
        selection: &Selection,
        start: Start,
        limit: u32,
    ) -> Result<Vec<Record>, StorageError>;

    /// The number of selected records.
    ///
    /// # Errors
    /// When the store fails, or does not support the selection.
    async fn count(&self, selection: &Selection) -> Result<u64, StorageError>;

    /// Every category (theme or metric type) with its number of records, ordered by code point.
    ///
    /// # Errors
    /// When the store fails.
    async fn categories(&self) -> Result<Vec<CategoryCount>, StorageError>;

    /// The best matches among the selected records, best first: all selected ones if there are fewer than the limit.
    ///
    /// # Errors
    /// When the store fails, or does not support the search.
    async fn search(&self, search: &Search) -> Result<Vec<Hit>, StorageError>;

    /// All selected records, newest first, in pages of some megabytes. Records stored meanwhile may be missing. Between
    /// two pages, the stream occupies nothing of the store.
    fn export(&self, selection: Selection) -> BoxStream<'_, Result<Vec<Record>, StorageError>>;
}

impl StorageKind {
    /// Its name in `*_STORAGE_TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Chroma => "chroma",
        }
    }
}

impl fmt::Display for StorageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
