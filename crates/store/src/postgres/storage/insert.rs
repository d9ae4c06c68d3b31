//! Stores records, atomically or one by one.

use std::collections::{HashMap, HashSet};

use records::stored_id;
use sqlx::{PgConnection, Row as _, error::DatabaseError, postgres::PgRow};
use uuid::Uuid;

use super::{PostgresStorage, row::read_record};
use crate::{
    postgres::{
        bounded::fetch,
        copy_format::{HEADER, write_new_row},
        failure::repeated,
        send_rows::send_rows,
        sql::service::{self as statements, NewRow},
    },
    row::object_to_json,
    storage::{Atomicity, Insertion, NewRecord, Record, StorageError},
};

/// The stored keys, and the existing records for the others.
type Outcome = (HashSet<Uuid>, HashMap<Uuid, Record>);

/// Minimum rows for which COPY is worth two more messages.
const COPIED_FROM: usize = 20;

const OPERATION: &str = "store records";

/// How often an insert is retried if the conflicting record is deleted before it can be read.
const ATTEMPTS: usize = 10;

impl PostgresStorage {
    pub(super) async fn insert_records(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        self.check_dimensions(records)?;
        repeated(|| self.try_insert(records, atomicity)).await
    }

    async fn try_insert(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        let rows = first_of_each_key(records);
        let mut transaction = self.begin_write().await?;
        let mut done = None;
        if rows.len() >= COPIED_FROM {
            done = self.copy_rows(&mut transaction, &rows).await?;
            if done.is_none() {
                transaction.rollback().await.map_err(self.failing.to("roll back a transaction"))?;
                transaction = self.begin_write().await?;
            }
        }
        let (stored, kept) = match done {
            Some(done) => done,
            None => self.insert_rows(&mut transaction, rows).await?,
        };
        let insertions = self.insertions(records, stored, &kept);
        let is_refused = atomicity == Atomicity::AllOrNothing && insertions.contains(&Insertion::Conflict);
        if !is_refused {
            self.commit(transaction).await?;
            return Ok(insertions);
        }
        transaction.rollback().await.map_err(self.failing.to("roll back a transaction"))?;
        let withhold = |(insertion, record): (Insertion, &NewRecord)| match insertion {
            Insertion::Stored(_) => Insertion::Withheld,
            // The record that it duplicates was not stored.
            Insertion::Unchanged(_) if !kept.contains_key(&stored_id(&record.id)) => Insertion::Withheld,
            insertion => insertion,
        };
        Ok(insertions.into_iter().zip(records).map(withhold).collect())
    }

    /// The statement takes all embeddings in one array, in which one of another dimension would shift the following
    /// ones.
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

    /// Copies the rows whose keys do not exist, which takes the server a tenth of the time of a statement. `None` if
    /// another writer stored one of them meanwhile, which aborts the transaction, or if a trigger skipped one.
    async fn copy_rows(
        &self,
        connection: &mut PgConnection,
        rows: &[(Uuid, &NewRecord)],
    ) -> Result<Option<Outcome>, StorageError> {
        let kept = self.kept(connection, rows).await?;
        let (mut bytes, mut stored) = (HEADER.to_vec(), HashSet::new());
        for row in rows.iter().filter(|(key, _)| !kept.contains_key(key)) {
            write_new_row(&mut bytes, &self.new_row(row));
            stored.insert(row.0);
        }
        match send_rows(connection, &statements::record_rows(&self.table), &bytes).await {
            Ok(written) if written == stored.len() as u64 => Ok(Some((stored, kept))),
            Ok(_) => Ok(None),
            Err(error) if is_unique_violation(&error) => Ok(None),
            Err(error) => Err(self.failing.to(OPERATION)(error)),
        }
    }

    /// Inserts the rows whose keys do not exist.
    async fn insert_rows(
        &self,
        connection: &mut PgConnection,
        mut waiting: Vec<(Uuid, &NewRecord)>,
    ) -> Result<Outcome, StorageError> {
        let (mut stored, mut kept) = (HashSet::new(), HashMap::new());
        for _ in 0..ATTEMPTS {
            if waiting.is_empty() {
                return Ok((stored, kept));
            }
            let rows: Vec<NewRow<'_>> = waiting.iter().map(|row| self.new_row(row)).collect();
            let statement = statements::insert_records(&self.table, &rows);
            let rows = fetch(connection, statement).await.map_err(self.failing.to(OPERATION))?;
            let keys: sqlx::Result<Vec<Uuid>> = rows.iter().map(|row| row.try_get(0)).collect();
            stored.extend(keys.map_err(self.failing.to(OPERATION))?);
            waiting.retain(|(key, _)| !stored.contains(key));
            if waiting.is_empty() {
                return Ok((stored, kept));
            }
            kept.extend(self.kept(connection, &waiting).await?);
            waiting.retain(|(key, _)| !kept.contains_key(key));
        }
        Err(StorageError::Unavailable {
            service: self.service(),
            source: "records with the same ids are repeatedly stored and deleted".into(),
        })
    }

    /// The existing records with the keys of `rows`.
    async fn kept(
        &self,
        connection: &mut PgConnection,
        rows: &[(Uuid, &NewRecord)],
    ) -> Result<HashMap<Uuid, Record>, StorageError> {
        let keys = rows.iter().map(|(key, _)| *key).collect();
        let found = fetch(connection, statements::select_records(&self.table, keys)).await;
        let read = |row: &PgRow| Ok((row.try_get("id")?, read_record(row, &self.table)?));
        found.and_then(|rows| rows.iter().map(read).collect()).map_err(self.failing.to(OPERATION))
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
                assert!(stored.remove(&key), "rows that did not exist were stored");
                let shown = record.to_record(service);
                by_this_batch.insert(key, shown.clone());
                Insertion::Stored(shown)
            })
            .collect()
    }

    fn new_row<'a>(&self, (key, record): &(Uuid, &'a NewRecord)) -> NewRow<'a> {
        let service = self.service();
        let value = |name: &str| match (name, &record.production) {
            (name, _) if name == service.category_key() => record.category.as_str(),
            ("model_id", Some(production)) => production.model_id.as_str(),
            ("query", Some(production)) => production.query.as_str(),
            (name, _) => unreachable!("outputs say who made them, and `{name}` is a column of theirs alone"),
        };
        NewRow {
            key: *key,
            source_id: (key.to_string() != record.id).then_some(record.id.as_str()),
            text: &record.text,
            columns: self.table.columns.iter().map(|column| value(&column.name)).collect(),
            metadata: object_to_json(&record.stored_metadata(service)),
            created_at: record.time(),
            embedding: &record.embedding,
        }
    }
}

/// The first record of each key, in a fixed order, so that two batches with the same ids do not deadlock.
fn first_of_each_key(records: &[NewRecord]) -> Vec<(Uuid, &NewRecord)> {
    let mut first: HashMap<Uuid, &NewRecord> = HashMap::with_capacity(records.len());
    for record in records {
        first.entry(stored_id(&record.id)).or_insert(record);
    }
    let mut rows: Vec<(Uuid, &NewRecord)> = first.into_iter().collect();
    rows.sort_by_key(|(key, _)| *key);
    rows
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
}
