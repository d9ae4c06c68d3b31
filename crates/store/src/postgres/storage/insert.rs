//! Stores records, as whole batches or one by one.

use std::collections::{HashMap, HashSet};

use records::{Embedding, stored_id, timestamp};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{PostgresStorage, fetch, row::read_record};
use crate::{
    postgres::ddl::service::{self as statements, NewRows},
    row::object_to_json,
    storage::{Atomicity, Insertion, NewRecord, Record, StorageError, category_key},
};

const OPERATION: &str = "store records";

/// How often a record is tried again that is in the way of another and then deleted before it can be read.
const ATTEMPTS: usize = 10;

impl PostgresStorage {
    pub(super) async fn insert_records(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        self.check_dimensions(records)?;
        let mut transaction = self.begin().await?;
        let (stored, kept) = self.insert_rows(&mut transaction, records).await?;
        let insertions = self.insertions(records, stored, &kept);
        let is_refused = atomicity == Atomicity::AllOrNothing && insertions.contains(&Insertion::Conflict);
        if !is_refused {
            self.commit(transaction).await?;
            return Ok(insertions);
        }
        transaction.rollback().await.map_err(self.failing.to("roll back a transaction"))?;
        let withhold = |(insertion, record): (Insertion, &NewRecord)| match insertion {
            Insertion::Stored(_) => Insertion::Withheld,
            // The one that it repeats is not stored.
            Insertion::Unchanged(_) if !kept.contains_key(&stored_id(&record.id)) => Insertion::Withheld,
            insertion => insertion,
        };
        Ok(insertions.into_iter().zip(records).map(withhold).collect())
    }

    /// The statement takes all embeddings in one list.
    fn check_dimensions(&self, records: &[NewRecord]) -> Result<(), StorageError> {
        let expected = self.table.dimension;
        let found =
            records.iter().map(|record| record.embedding.dimension()).find(|found| *found != expected);
        match found {
            None => Ok(()),
            Some(found) => Err(StorageError::Refused {
                field: "embedding".to_owned(),
                reason: format!("expected {expected} components, found {found}"),
            }),
        }
    }

    /// Inserts the first record of each key. Answers the keys that were stored, and the records that were there for
    /// the others.
    async fn insert_rows(
        &self,
        connection: &mut PgConnection,
        records: &[NewRecord],
    ) -> Result<(HashSet<Uuid>, HashMap<Uuid, Record>), StorageError> {
        let mut first: HashMap<Uuid, &NewRecord> = HashMap::with_capacity(records.len());
        for record in records {
            first.entry(stored_id(&record.id)).or_insert(record);
        }
        let mut waiting: Vec<(Uuid, &NewRecord)> = first.into_iter().collect();
        // In one order everywhere, so that two batches with the same ids do not wait for each other.
        waiting.sort_by_key(|(key, _)| *key);
        let (mut stored, mut kept) = (HashSet::new(), HashMap::new());
        for _ in 0..ATTEMPTS {
            if waiting.is_empty() {
                return Ok((stored, kept));
            }
            let statement = statements::insert_records(&self.table, self.new_rows(&waiting));
            let rows = fetch(connection, statement).await.map_err(self.failing.to(OPERATION))?;
            let keys: sqlx::Result<Vec<Uuid>> = rows.iter().map(|row| row.try_get(0)).collect();
            stored.extend(keys.map_err(self.failing.to(OPERATION))?);
            waiting.retain(|(key, _)| !stored.contains(key));
            if waiting.is_empty() {
                return Ok((stored, kept));
            }
            let keys = waiting.iter().map(|(key, _)| *key).collect();
            let rows = fetch(connection, statements::select_records(&self.table, keys)).await;
            for row in rows.map_err(self.failing.to(OPERATION))? {
                let found = row.try_get("id").and_then(|key| Ok((key, read_record(&row, &self.table)?)));
                kept.extend([found.map_err(self.failing.to(OPERATION))?]);
            }
            waiting.retain(|(key, _)| !kept.contains_key(key));
        }
        Err(StorageError::Unavailable {
            service: self.service(),
            source: "records of the same ids are stored and deleted all the time".into(),
        })
    }

    fn insertions(
        &self,
        records: &[NewRecord],
        mut stored: HashSet<Uuid>,
        kept: &HashMap<Uuid, Record>,
    ) -> Vec<Insertion> {
        let service = self.service();
        let mut by_this_batch: HashMap<Uuid, Record> = HashMap::new();
        let compared = |record: &NewRecord, there: &Record| match record.is_same(service, there) {
            true => Insertion::Unchanged(there.clone()),
            false => Insertion::Conflict,
        };
        records
            .iter()
            .map(|record| {
                let key = stored_id(&record.id);
                if let Some(there) = kept.get(&key).or_else(|| by_this_batch.get(&key)) {
                    return compared(record, there);
                }
                assert!(stored.remove(&key), "what was not there was stored");
                let shown = record.to_record(service);
                by_this_batch.insert(key, shown.clone());
                Insertion::Stored(shown)
            })
            .collect()
    }

    fn new_rows(&self, records: &[(Uuid, &NewRecord)]) -> NewRows {
        let service = self.service();
        let each = || records.iter().map(|(_, record)| *record);
        let column = |name: &str| {
            let value = |record: &NewRecord| match (name, &record.production) {
                (name, _) if name == category_key(service) => record.category.clone(),
                ("model_id", Some(production)) => production.model_id.clone(),
                ("query", Some(production)) => production.query.clone(),
                (name, _) => {
                    unreachable!("outputs say who made them, and `{name}` is a column of theirs alone")
                }
            };
            each().map(value).collect()
        };
        NewRows {
            keys: records.iter().map(|(key, _)| *key).collect(),
            source_ids: records
                .iter()
                .map(|(key, record)| (key.to_string() != record.id).then(|| record.id.clone()))
                .collect(),
            texts: each().map(|record| record.text.clone()).collect(),
            columns: self.table.columns.iter().map(|lifted| column(&lifted.name)).collect(),
            metadata: each().map(|record| object_to_json(&record.stored_metadata(service))).collect(),
            created_at: each().map(|record| timestamp::to_microseconds(record.created_at)).collect(),
            embeddings: each().flat_map(|record| Embedding::as_slice(&record.embedding)).copied().collect(),
        }
    }
}
