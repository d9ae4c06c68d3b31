//! A service's records in a ChromaDB collection.
//!
//! The server stores records and finds them by id, by equality of a text, and by similarity. Operations that it
//! lacks, or that differ between versions, are implemented here: ordering by time, pages, counts, categories, most
//! filters, and exact search if the index returns too few. These scan the selected records, about 10,000 per second;
//! only id, time and distance of each are kept in memory.

mod matching;
mod narrowing;
mod nearest;
mod open;
mod reading;
mod row;
mod writing;

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use chroma::Collection;
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use records::Service;
use tokio::sync::Mutex;

use self::row::{Columns, Lists, SortKey, column_text};
use super::{api::Connection, error::Error};
use crate::{
    row::object_to_json,
    storage::{
        Atomicity, CategoryCount, Change, Hit, Insertion, MAX_ANSWER_BYTES, NewRecord, Record, Search,
        Selection, Start, Storage, StorageError, StorageKind,
    },
};

/// Records read at once during an export.
const EXPORT_RECORDS: usize = 100;

/// The records of one service in a collection of a Chroma server.
pub struct ChromaStorage {
    service: Service,
    connection: Connection,
    collection: Collection,
    lists: Lists,
    /// Maximum records per write request, and ids per read request.
    batch_records: usize,
    /// Held during writes. Chroma has no transactions, so no other task of this process may write between a read and
    /// the write that depends on it. Conflicts with other processes are detected when the write is read back.
    writing: Mutex<()>,
}

impl ChromaStorage {
    fn failed(&self, operation: &'static str) -> impl Fn(Error) -> StorageError + use<> {
        let service = self.service;
        move |error| storage_error(service, operation, error)
    }
}

/// Maps the error of a request, depending on whether a retry may succeed later.
fn storage_error(service: Service, operation: &'static str, error: Error) -> StorageError {
    match error.is_transient() || error.is_timeout() {
        true => StorageError::Unavailable { service, source: Box::new(error) },
        false => StorageError::Failed { operation, source: Box::new(error) },
    }
}

#[async_trait]
impl Storage for ChromaStorage {
    fn service(&self) -> Service {
        self.service
    }

    fn kind(&self) -> StorageKind {
        StorageKind::Chroma
    }

    async fn check(&self) -> Result<(), StorageError> {
        let counted = self.connection.count(&self.collection).await;
        counted.map(drop).map_err(self.failed("find the collection"))
    }

    async fn insert(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        self.insert_records(records, atomicity).await
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<Record>, StorageError> {
        within_answer(self.records(ids, "get records").await?)
    }

    async fn update(&self, id: &str, change: &Change) -> Result<Option<Record>, StorageError> {
        self.update_record(id, change).await
    }

    async fn delete(&self, ids: &[String]) -> Result<Vec<String>, StorageError> {
        self.delete_records(ids).await
    }

    async fn list(
        &self,
        selection: &Selection,
        start: Start,
        limit: u32,
    ) -> Result<Vec<Record>, StorageError> {
        let mut selected = self.places(selection, "list records").await?;
        let skipped = match start {
            Start::Offset(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
            Start::After(cursor) => {
                let after = SortKey { created_at: cursor.created_at, key: cursor.key };
                selected.retain(|(place, _)| *place < after);
                0
            }
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let ids: Vec<String> =
            newest_first(selected).into_iter().skip(skipped).take(limit).map(|(_, id)| id).collect();
        within_answer(self.records(&ids, "list records").await?)
    }

    async fn count(&self, selection: &Selection) -> Result<u64, StorageError> {
        const OPERATION: &str = "count records";
        if selection.is_all() {
            return self.connection.count(&self.collection).await.map_err(self.failed(OPERATION));
        }
        self.scan(selection, Columns::default(), OPERATION, |count: &mut u64, _| *count += 1).await
    }

    async fn categories(&self) -> Result<Vec<CategoryCount>, StorageError> {
        let key = self.service.category_key();
        // Beyond the limit of a response, nothing is kept.
        let count = |(counts, bytes): &mut (BTreeMap<String, u64>, usize), row: row::Row| {
            let Some(category) = column_text(self.service, key, &row.metadata) else { return };
            match counts.get_mut(&category) {
                Some(count) => *count += 1,
                None => {
                    *bytes = bytes.saturating_add(category.len());
                    if *bytes <= MAX_ANSWER_BYTES {
                        counts.insert(category, 1);
                    }
                }
            }
        };
        let columns = Columns { metadatas: true, ..Columns::default() };
        let (counts, bytes) =
            self.scan(&Selection::default(), columns, "count the categories", count).await?;
        if bytes > MAX_ANSWER_BYTES {
            return Err(StorageError::TooLarge);
        }
        Ok(counts
            .into_iter()
            .map(|(category, records)| CategoryCount { category: Some(category), records })
            .collect())
    }

    async fn search(&self, search: &Search) -> Result<Vec<Hit>, StorageError> {
        self.search_records(search).await
    }

    fn export(&self, selection: Selection) -> BoxStream<'_, Result<Vec<Record>, StorageError>> {
        const OPERATION: &str = "export records";
        let places = async move { self.places(&selection, OPERATION).await };
        stream::once(places)
            .map_ok(move |selected| {
                let ids: Vec<String> = newest_first(selected).into_iter().map(|(_, id)| id).collect();
                let pages: Vec<Vec<String>> = ids.chunks(EXPORT_RECORDS).map(<[_]>::to_vec).collect();
                stream::iter(pages).then(move |ids| async move { self.records(&ids, OPERATION).await })
            })
            .try_flatten()
            .boxed()
    }
}

/// The records, unless they exceed the maximum size of a response.
fn within_answer(records: Vec<Record>) -> Result<Vec<Record>, StorageError> {
    let mut bytes = 0;
    for record in &records {
        bytes += record.text.len() + object_to_json(&record.metadata).len();
        if bytes > MAX_ANSWER_BYTES && records.len() > 1 {
            return Err(StorageError::TooLarge);
        }
    }
    Ok(records)
}

fn newest_first(mut selected: Vec<(SortKey, String)>) -> Vec<(SortKey, String)> {
    selected.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
    selected
}

impl fmt::Debug for ChromaStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChromaStorage")
            .field("service", &self.service)
            .field("server", &self.connection.client.address())
            .field("collection", &self.collection.name)
            .finish_non_exhaustive()
    }
}
