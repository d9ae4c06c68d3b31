//! Sources of the judge's queries and metrics.

use std::{collections::HashMap, fmt, sync::Arc};

use async_trait::async_trait;
use records::Service;
use store::storage::{Cursor, MAX_ANSWER_BYTES, Record, Selection, Start, Storage, StorageError};

use super::{error::RunError, observer::Observer};

/// The judge's source of another service's records: a storage in its process, or a remote service.
#[async_trait]
pub trait RecordSource: fmt::Debug + Send + Sync {
    /// The records with these ids, in their order; `None` for missing ones.
    ///
    /// # Errors
    /// When the source does not answer, or fails.
    async fn find(&self, ids: &[String]) -> Result<Vec<Option<Record>>, RunError>;

    /// Up to `limit` records of a category, newest first.
    ///
    /// # Errors
    /// When the source does not answer, or fails.
    async fn newest(&self, category: &str, limit: u32) -> Result<Vec<Record>, RunError>;

    /// Up to `limit` of the selected records, newest first.
    ///
    /// # Errors
    /// When the source does not support the selection, does not answer, or fails.
    async fn selected(&self, selection: &Selection, limit: u32) -> Result<Vec<Record>, RunError>;
}

/// The records of a storage that is open in this process.
#[derive(Debug)]
pub struct StoredRecords {
    storage: Arc<dyn Storage>,
    observer: Observer,
}

/// Records per page.
const PAGE: u32 = 1000;

impl StoredRecords {
    /// Those of `storage`.
    pub fn new(storage: Arc<dyn Storage>, observer: Observer) -> Self {
        Self { storage, observer }
    }

    async fn list(&self, selection: &Selection, start: Start, limit: u32) -> Result<Vec<Record>, RunError> {
        let listed = self.storage.list(selection, start, limit);
        let listed = self.observer.storage(self.storage.service(), "list", listed).await;
        let remedy = || format!("{limit} are asked for at most: give a smaller `limit`");
        listed.map_err(|error| too_large(error, "limit", remedy))
    }
}

/// Names the field of the request that makes the answer of a storage too large, and the remedy.
fn too_large(error: StorageError, field: &str, remedy: impl Fn() -> String) -> RunError {
    match error {
        StorageError::TooLarge => {
            let reason =
                format!("the records have more than {MAX_ANSWER_BYTES} bytes in total; {}", remedy());
            RunError::refused(field, reason)
        }
        error => error.into(),
    }
}

#[async_trait]
impl RecordSource for StoredRecords {
    async fn find(&self, ids: &[String]) -> Result<Vec<Option<Record>>, RunError> {
        let service = self.storage.service();
        let field = if service == Service::Evaluation { "evaluation_prompt_ids" } else { "query_ids" };
        let found = self.observer.storage(service, "get", self.storage.get(ids)).await;
        let found = found.map_err(|error| too_large(error, field, || "give fewer ids".to_owned()))?;
        let found: HashMap<String, Record> =
            found.into_iter().map(|record| (record.id.clone(), record)).collect();
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn newest(&self, category: &str, limit: u32) -> Result<Vec<Record>, RunError> {
        let selection = Selection { category: Some(category.to_owned()), ..Selection::default() };
        self.list(&selection, Start::Offset(0), limit).await
    }

    async fn selected(&self, selection: &Selection, limit: u32) -> Result<Vec<Record>, RunError> {
        let mut records: Vec<Record> = Vec::new();
        let mut start = Start::Offset(0);
        loop {
            let left = limit - u32::try_from(records.len()).expect("there are no more than `limit`");
            let page = left.min(PAGE);
            let listed = self.list(selection, start, page).await?;
            let is_last = listed.len() < usize::try_from(page).expect("a page fits into memory");
            records.extend(listed);
            match records.last() {
                Some(last) if !is_last && left > page => start = Start::After(Cursor::after(last)),
                _ => return Ok(records),
            }
        }
    }
}
