//! The records of the collections that Chroma clients see: each collection has a table like those of migrated
//! collections, with two more columns for the order of insertion and for texts that PostgreSQL cannot store as they
//! are.

mod columns;
mod escape;
mod known;
mod read;
mod sample;
mod search;
mod search_at_once;
mod turn;
mod write;

use std::{fmt, sync::Arc};

use records::{Embedding, lock::Mutex};
use serde_json::{Map, Value};

use self::known::Known;
pub use self::{
    sample::{SAMPLED_CHARACTERS, SampledRecord},
    search::Neighbours,
    write::WriteMode,
};
pub use super::sql::collections::RecordParts;
use super::{Database, collections::CollectionError};
use crate::{
    row::object_to_json,
    storage::{RecordFilter, StorageError},
};

/// The collections of a database, and their records.
#[derive(Clone)]
pub struct Collections {
    database: Database,
    /// Shared by the clones.
    known: Arc<Mutex<Known>>,
}

/// Of a vector's component as JSON.
const COMPONENT_BYTES: usize = 12;

/// What a client writes about a record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordWrite {
    /// Its id.
    pub id: String,
    /// Its vector; `None` keeps the stored one.
    pub embedding: Option<Embedding>,
    /// Its document; `None` keeps the stored one.
    pub document: Option<String>,
    /// Its URI; `None` keeps the stored one.
    pub uri: Option<String>,
    /// Its metadata. An update merges them by key with the stored ones, where null removes a key.
    pub metadata: Option<Map<String, Value>>,
}

/// Which records are meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordSelection {
    /// Only those with one of these ids.
    pub ids: Option<Vec<String>>,
    /// Only those that match.
    pub filter: Option<RecordFilter>,
}

/// A record as it is read. Parts that were not requested are `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionRecord {
    /// Its id.
    pub id: String,
    /// Its vector.
    pub embedding: Option<Vec<f32>>,
    /// Its document.
    pub document: Option<String>,
    /// Its URI.
    pub uri: Option<String>,
    /// Its metadata.
    pub metadata: Option<Map<String, Value>>,
}

impl CollectionRecord {
    /// Its size in an answer, roughly.
    fn bytes(&self) -> usize {
        let texts = [Some(&self.id), self.document.as_ref(), self.uri.as_ref()];
        let metadata = self.metadata.as_ref().map_or(0, |metadata| object_to_json(metadata).len());
        let components = self.embedding.as_ref().map_or(0, Vec::len);
        texts.into_iter().flatten().map(String::len).sum::<usize>() + metadata + components * COMPONENT_BYTES
    }
}

impl Collections {
    /// The collections of `database`, whose schema must be prepared
    /// ([`Database::prepare_bookkeeping`]).
    pub fn new(database: Database) -> Self {
        Self { database, known: Arc::default() }
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

impl fmt::Debug for Collections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collections").finish_non_exhaustive()
    }
}

/// The error of a condition that PostgreSQL cannot test.
fn unsupported(error: StorageError) -> CollectionError {
    match error {
        StorageError::Unsupported { reason, .. } | StorageError::Refused { reason, .. } => {
            CollectionError::Unsupported { reason }
        }
        error => CollectionError::Failed { operation: "write a condition", source: error.into() },
    }
}
