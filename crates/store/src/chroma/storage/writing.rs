//! Stores, changes and deletes records.
//!
//! Chroma has no transactions, and no conditional insert that reports whether the id was free: `add` silently skips
//! existing ids. So records are read before each write, and again after it.

use std::collections::{HashMap, HashSet};

use records::Service;
use serde_json::{Map, Value};

use super::{
    ChromaStorage,
    nearest::check_embedding,
    row::{Columns, kept_metadata},
};
use crate::{
    chroma::wire::RecordsBody,
    storage::{Atomicity, Change, Insertion, NewRecord, Record, StorageError},
};

const STORE: &str = "store records";
const UPDATE: &str = "update a record";
const DELETE: &str = "delete records";

/// Chroma 1.x accepts 40 MB per request.
const BATCH_BYTES: usize = 16 << 20;
/// Maximum characters of an f32 in JSON, with sign, point and comma.
const COMPONENT_BYTES: usize = 16;

/// A stored record is missing when it is read back.
#[derive(Debug, thiserror::Error)]
#[error("record `{id}` was stored and is missing: check that no other program deletes it")]
struct MissingRecord {
    id: String,
}

impl ChromaStorage {
    pub(super) async fn insert_records(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        for record in records {
            record.check(self.service)?;
            check_embedding("embedding", &record.embedding)?;
        }
        let _writing = self.writing.lock().await;
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        let mut existing = self.by_id(&ids, STORE).await?;
        let insertions = plan(self.service, records, &existing, atomicity);
        let added: Vec<&NewRecord> = records
            .iter()
            .zip(&insertions)
            .filter_map(|(record, insertion)| matches!(insertion, Insertion::Stored(_)).then_some(record))
            .collect();
        if added.is_empty() {
            return Ok(insertions);
        }
        if let Err(error) = self.add(&added).await {
            if atomicity == Atomicity::AllOrNothing {
                self.roll_back(&added).await;
            }
            return Err(error);
        }
        let others = self.stored_by_others(&added).await?;
        if others.is_empty() {
            return Ok(insertions);
        }
        // Another process stored it first.
        existing.extend(others);
        let insertions = plan(self.service, records, &existing, atomicity);
        if insertions.contains(&Insertion::Withheld) {
            self.roll_back(&added).await;
        }
        Ok(insertions)
    }

    pub(super) async fn update_record(
        &self,
        id: &str,
        change: &Change,
    ) -> Result<Option<Record>, StorageError> {
        if let Some((_, embedding)) = &change.text {
            check_embedding("embedding", embedding)?;
        }
        let _writing = self.writing.lock().await;
        let id = [id.to_owned()];
        let Some(row) = self.rows(&id, Columns::SHOWN, UPDATE).await?.pop() else { return Ok(None) };
        let kept_keys = row.kept_keys.clone();
        let stored = row.into_record();
        change.check(self.service, &stored)?;
        // Keys that are not named stay; null removes a key.
        let metadata = match (&change.metadata, &change.category) {
            (None, None) => None,
            (None, Some(category)) => {
                let category = Value::String(category.clone());
                Some(Map::from_iter([(self.service.category_key().to_owned(), category)]))
            }
            (Some(_), _) => {
                let applied = change.applied_metadata(self.service, &stored);
                let mut kept = kept_metadata(applied, self.lists);
                for key in kept_keys {
                    kept.entry(key).or_insert(Value::Null);
                }
                Some(kept)
            }
        };
        let text = change.text.as_ref();
        if metadata.is_none() && text.is_none() {
            return Ok(Some(stored));
        }
        let body = RecordsBody {
            ids: vec![&id[0]],
            embeddings: text.map(|(_, embedding)| vec![embedding.as_slice()]),
            documents: text.map(|(text, _)| vec![text.as_str()]),
            metadatas: metadata.as_ref().map(|metadata| vec![metadata]),
        };
        self.connection.update(&self.collection, &body).await.map_err(self.failed(UPDATE))?;
        Ok(self.records(&id, UPDATE).await?.pop())
    }

    pub(super) async fn delete_records(&self, ids: &[String]) -> Result<Vec<String>, StorageError> {
        let _writing = self.writing.lock().await;
        let rows = self.rows(ids, Columns::default(), DELETE).await?;
        let mut existing: HashSet<String> = rows.into_iter().map(|row| row.id).collect();
        // In order, without duplicates.
        let deleted: Vec<String> = ids.iter().filter(|id| existing.remove(*id)).cloned().collect();
        self.delete_all(&deleted).await?;
        Ok(deleted)
    }

    async fn delete_all(&self, ids: &[String]) -> Result<(), StorageError> {
        for chunk in ids.chunks(self.batch_records) {
            self.connection.delete(&self.collection, chunk).await.map_err(self.failed(DELETE))?;
        }
        Ok(())
    }

    async fn by_id(
        &self,
        ids: &[String],
        operation: &'static str,
    ) -> Result<HashMap<String, Record>, StorageError> {
        let records = self.records(ids, operation).await?;
        Ok(records.into_iter().map(|record| (record.id.clone(), record)).collect())
    }

    /// Adds records in as many sequential requests as needed.
    async fn add(&self, records: &[&NewRecord]) -> Result<(), StorageError> {
        let metadatas: Vec<Map<String, Value>> = records
            .iter()
            .map(|record| kept_metadata(record.stored_metadata(self.service), self.lists))
            .collect();
        let mut rest: Vec<(&NewRecord, &Map<String, Value>)> =
            records.iter().copied().zip(&metadatas).collect();
        while !rest.is_empty() {
            let later = rest.split_off(self.first_batch(&rest));
            let body = RecordsBody {
                ids: rest.iter().map(|(record, _)| record.id.as_str()).collect(),
                embeddings: Some(rest.iter().map(|(record, _)| record.embedding.as_slice()).collect()),
                documents: Some(rest.iter().map(|(record, _)| record.text.as_str()).collect()),
                metadatas: Some(rest.iter().map(|(_, metadata)| *metadata).collect()),
            };
            self.connection.add(&self.collection, &body).await.map_err(self.failed(STORE))?;
            rest = later;
        }
        Ok(())
    }

    /// How many of the records fit into one request; at least one.
    fn first_batch(&self, records: &[(&NewRecord, &Map<String, Value>)]) -> usize {
        let mut size_bytes = 0;
        let fitting = records.iter().take(self.batch_records).take_while(|(record, metadata)| {
            let vector_bytes = COMPONENT_BYTES * record.embedding.dimension();
            let metadata_bytes = Value::Object((*metadata).clone()).to_string().len();
            size_bytes += record.id.len() + record.text.len() + metadata_bytes + vector_bytes;
            size_bytes <= BATCH_BYTES
        });
        fitting.count().max(1)
    }

    /// Those of the added ids under which another process's record is stored.
    async fn stored_by_others(&self, added: &[&NewRecord]) -> Result<HashMap<String, Record>, StorageError> {
        let ids: Vec<String> = added.iter().map(|record| record.id.clone()).collect();
        let mut existing = self.by_id(&ids, STORE).await?;
        for record in added {
            match existing.get(&record.id) {
                Some(stored) if record.is_stored_as(self.service, stored) => {
                    existing.remove(&record.id);
                }
                Some(_) => {}
                None => {
                    let gone = MissingRecord { id: record.id.clone() };
                    return Err(StorageError::Failed { operation: STORE, source: Box::new(gone) });
                }
            }
        }
        Ok(existing)
    }

    /// Deletes those of `added` that are stored as we added them. If this fails too, a repeated call finds the
    /// remaining ones unchanged.
    async fn roll_back(&self, added: &[&NewRecord]) {
        let ids: Vec<String> = added.iter().map(|record| record.id.clone()).collect();
        let rolled_back = async {
            let existing = self.by_id(&ids, STORE).await?;
            let is_ours = |record: &&&NewRecord| {
                existing.get(&record.id).is_some_and(|stored| record.is_stored_as(self.service, stored))
            };
            let ours: Vec<String> = added.iter().filter(is_ours).map(|record| record.id.clone()).collect();
            self.delete_all(&ours).await
        };
        if let Err(error) = rolled_back.await {
            log::warn!(
                "up to {} records of a failed batch remain in collection `{}`: {error}",
                ids.len(),
                self.collection.name
            );
        }
    }
}

/// Plans the insertion of each of `records`, given the `existing` records with their ids.
fn plan(
    service: Service,
    records: &[NewRecord],
    existing: &HashMap<String, Record>,
    atomicity: Atomicity,
) -> Vec<Insertion> {
    let mut stored: HashMap<&str, Record> = HashMap::new();
    let mut insertions: Vec<Insertion> = records
        .iter()
        .map(|record| match existing.get(&record.id).or_else(|| stored.get(record.id.as_str())) {
            Some(other) if record.is_same(service, other) => Insertion::Unchanged(other.clone()),
            Some(_) => Insertion::Conflict,
            None => {
                let shown = record.to_record(service);
                stored.insert(&record.id, shown.clone());
                Insertion::Stored(shown)
            }
        })
        .collect();
    if atomicity == Atomicity::AllOrNothing && insertions.contains(&Insertion::Conflict) {
        for (record, insertion) in records.iter().zip(&mut insertions) {
            if *insertion != Insertion::Conflict && stored.contains_key(record.id.as_str()) {
                *insertion = Insertion::Withheld;
            }
        }
    }
    insertions
}
