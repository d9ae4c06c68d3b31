//! The storage of one service, whatever keeps it: what every back end does, in the same way.
//!
//! [`Storage`] has two implementations, in PostgreSQL and in ChromaDB. They answer alike; where ChromaDB has no such
//! operation, its implementation works it out.

mod cursor;
mod error;
mod filter;
pub(crate) mod folding;
mod pattern;
mod record;
mod selection;

use std::fmt;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use records::Service;

pub use cursor::{Cursor, InvalidCursor};
pub(crate) use cursor::{read_time, write_time};
pub use error::{MAX_ANSWER_BYTES, StorageError};
pub use filter::{Comparison, DocumentFilter, DocumentTest, Filter, FilterError, Scalar, Test};
#[cfg(any(test, fuzzing))]
pub(crate) use folding::unfold as unfolded;
pub use pattern::Pattern;
pub use record::{Change, Insertion, NewRecord, Production, Record};
pub(crate) use record::{check_text, kept_keys};
pub use selection::{CategoryCount, Effort, Hit, Scan, Search, SearchMode, Selection, Start};

/// Bytes of the records that an export holds at once, one at least.
pub(crate) const EXPORT_BYTES: usize = 2 << 20;

/// What keeps a service's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageKind {
    /// PostgreSQL with pgvector.
    Postgres,
    /// A ChromaDB server.
    Chroma,
}

/// What becomes of a batch of which a record cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomicity {
    /// Nothing of it is stored.
    AllOrNothing,
    /// The others are stored.
    Each,
}

/// The records of one service.
///
/// Records are ordered newest first: by [`Record::created_at`], then by [`records::stored_id`], both descending;
/// records without a time come first in PostgreSQL, which has them in tables of the old services alone, and last in
/// ChromaDB. An id names a record only if it is the very text that
/// [`Record::id`] shows.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// Whose records these are.
    fn service(&self) -> Service;

    /// What keeps them.
    fn kind(&self) -> StorageKind;

    /// Asks the store whether it is there and fit to be used.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when it does not answer; else why it cannot be used.
    async fn check(&self) -> Result<(), StorageError>;

    /// Asks the store whether it takes writes, as far as it can tell without one.
    ///
    /// # Errors
    /// Why it does not: it is read-only, or its disk is full.
    async fn check_writes(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Stores `records`, and says of each what became of it, in their order. A record whose id is there already is
    /// left as it is: [`Insertion::Unchanged`] if it says the same ([`NewRecord::is_same`]), else
    /// [`Insertion::Conflict`]. With [`Atomicity::AllOrNothing`] one conflict means that nothing is stored.
    /// Two records of one id in a batch are treated as if they came one after the other.
    ///
    /// # Errors
    /// When the store fails. Then with [`Atomicity::AllOrNothing`] nothing is stored.
    async fn insert(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError>;

    /// The records with these ids, in their order; those that do not exist are left out.
    ///
    /// # Errors
    /// When the store fails.
    async fn get(&self, ids: &[String]) -> Result<Vec<Record>, StorageError>;

    /// Changes the record `id`, and answers it as it is then; `None` when it does not exist.
    ///
    /// # Errors
    /// When the store fails.
    async fn update(&self, id: &str, change: &Change) -> Result<Option<Record>, StorageError>;

    /// Deletes the records with these ids, and answers the ids of those that were there, in their order.
    ///
    /// # Errors
    /// When the store fails.
    async fn delete(&self, ids: &[String]) -> Result<Vec<String>, StorageError>;

    /// Up to `limit` of the selected records from `start` on, newest first.
    ///
    /// # Errors
    /// When the store fails, or cannot do what the selection asks.
    async fn list(
        &self,
        selection: &Selection,
        start: Start,
        limit: u32,
    ) -> Result<Vec<Record>, StorageError>;

    /// How many records are selected.
    ///
    /// # Errors
    /// When the store fails, or cannot do what the selection asks.
    async fn count(&self, selection: &Selection) -> Result<u64, StorageError>;

    /// Every category (theme or metric type) that a record has, and how many have it; by code point.
    ///
    /// # Errors
    /// When the store fails.
    async fn categories(&self) -> Result<Vec<CategoryCount>, StorageError>;

    /// The best matches among the selected records, best first: all of the selected ones if there are fewer than
    /// the limit.
    ///
    /// # Errors
    /// When the store fails, or cannot do what the search asks.
    async fn search(&self, search: &Search) -> Result<Vec<Hit>, StorageError>;

    /// All selected records, newest first. Those stored meanwhile may be left out.
    fn export(&self, selection: Selection) -> BoxStream<'_, Result<Record, StorageError>>;
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
