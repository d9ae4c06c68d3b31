//! What this process knows of collections, so that a request needs fewer round trips. All of it may be outdated.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::Collections;
use crate::{
    postgres::{
        Table,
        collections::{Collection, CollectionError},
        vector_index::SearchedIndex,
    },
    storage::RecordFilter,
};

/// How long the cached state of a table's vector index is used. A later change makes a search slower, never wrong.
const INDEX_KNOWN_FOR: Duration = Duration::from_secs(10);
/// How long a filter that matches many records is known as such. A later change makes a search slower, never wrong.
const WIDE_FOR: Duration = Duration::from_secs(60);
/// Maximum entries of each kind.
const MOST_KNOWN: usize = 10_000;
/// Maximum bytes of the texts of a collection that is cached; few have more.
const MOST_TEXT: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Known {
    collections: HashMap<Uuid, Arc<Collection>>,
    /// By table.
    indexes: HashMap<String, (Instant, Option<Arc<SearchedIndex>>)>,
    /// Hashes of tables and filters that match too many records for an exact scan.
    wide: HashMap<u64, Instant>,
    hashing: RandomState,
}

impl Known {
    pub(super) fn index(&self, table: &str) -> Option<Option<Arc<SearchedIndex>>> {
        let (seen, index) = self.indexes.get(table)?;
        (seen.elapsed() < INDEX_KNOWN_FOR).then(|| index.clone())
    }

    pub(super) fn know_index(&mut self, table: &str, index: Option<Arc<SearchedIndex>>) {
        insert(&mut self.indexes, table.to_owned(), (Instant::now(), index));
    }

    pub(super) fn is_wide(&self, table: &Table, filter: Option<&RecordFilter>) -> bool {
        self.wide.get(&self.hash(table, filter)).is_some_and(|seen| seen.elapsed() < WIDE_FOR)
    }

    pub(super) fn know_wide(&mut self, table: &Table, filter: Option<&RecordFilter>) {
        let hash = self.hash(table, filter);
        insert(&mut self.wide, hash, Instant::now());
    }

    fn hash(&self, table: &Table, filter: Option<&RecordFilter>) -> u64 {
        struct Hashing<H>(H);
        impl<H: std::hash::Hasher> fmt::Write for Hashing<H> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0.write(part.as_bytes());
                Ok(())
            }
        }
        let mut hashing = Hashing(self.hashing.build_hasher());
        let collection = table.shared.as_ref().map(|shared| shared.id);
        write!(hashing, "{}\0{collection:?}{filter:?}", table.name).expect("hashing does not fail");
        hashing.0.finish()
    }
}

fn insert<K: Eq + std::hash::Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(key, value);
}

impl Collections {
    /// A collection as it was when this process last read it. Operations on it check whether it is still so, and if
    /// not, fail with [`CollectionError::NotFound`].
    pub fn known(&self, tenant: &str, database: &str, id: Uuid) -> Option<Arc<Collection>> {
        let known = self.known.lock();
        let collection = known.collections.get(&id)?;
        (collection.tenant == tenant && collection.database == database).then(|| collection.clone())
    }

    /// A collection by its id, if it exists in the database `database` of `tenant`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(
        &self,
        tenant: &str,
        database: &str,
        id: Uuid,
    ) -> Result<Option<Collection>, CollectionError> {
        let found = self.database.collection_with_id(tenant, database, id).await?;
        let mut known = self.known.lock();
        known.collections.remove(&id);
        let Some(mut collection) = found else { return Ok(None) };
        let texts = [&collection.metadata, &collection.configuration, &collection.schema];
        let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
        // The first record of another process creates the table.
        if collection.table.is_some() && bytes <= MOST_TEXT {
            insert(&mut known.collections, id, Arc::new(collection.clone()));
        }
        // It is not outdated if it changes from now on.
        collection.version = None;
        Ok(Some(collection))
    }
}
