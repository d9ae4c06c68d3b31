//! Writes records. The writers of a collection take turns, and each batch is one transaction.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use records::{MODEL_DIMENSION, Service, timestamp};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    CollectionRecord, Collections, RecordParts, RecordWrite,
    columns::{as_text, values},
    escape::{escaped, has_nul, mapped, metadata_has_nul},
    search::check_dimensions,
    turn::{Attempt, Turn},
};
use crate::{
    postgres::{
        Presence, Table,
        bounded::bound,
        checkout::Transaction,
        collections::{Collection, CollectionError, failing, find_for_update, set_table},
        copy_format::{HEADER, write_collection_row},
        failure::is_conflict,
        jobs::now,
        own_tables::is_own_relation,
        row_locks::RowLocks,
        send_rows::send_rows,
        sql::{
            self,
            collections::{self as statements, ChangedRow, CollectionRow},
        },
        unnamed::on,
    },
    row::object_to_json,
};

const OPERATION: &str = "write records";

/// pgvector's limit.
const MAX_DIMENSION: usize = 16_000;

/// How often a batch is retried if another program, which does not take turns, writes the same rows.
const ATTEMPTS: usize = 5;

/// What a write does with records that do not exist, and with those that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Adds records, and skips those that exist. Of several with one id, the first is added.
    Add,
    /// Changes records, and skips those that do not exist. Several changes of one record are applied in turn.
    Update,
    /// Adds records, and changes those that exist.
    Upsert,
}

impl Collections {
    /// Writes records.
    ///
    /// # Errors
    /// [`CollectionError::Dimension`]; [`CollectionError::Unsupported`] for vectors beyond pgvector's limit; when the
    /// collection is gone, or the database fails. Then nothing is written.
    pub async fn write(
        &self,
        collection: &Collection,
        records: &[RecordWrite],
        mode: WriteMode,
    ) -> Result<(), CollectionError> {
        if records.is_empty() {
            return Ok(());
        }
        let turn = Turn::with_locks();
        for _ in 1..ATTEMPTS {
            let attempt = turn.attempt();
            let written = self.try_write(collection, records, mode, &attempt).await;
            let Err(error) = &written else { return written };
            if !is_repeatable(error) && !self.has_given_up(&attempt).await? {
                return written;
            }
        }
        self.try_write(collection, records, mode, &turn.attempt()).await
    }

    async fn try_write(
        &self,
        collection: &Collection,
        records: &[RecordWrite],
        mode: WriteMode,
        attempt: &Attempt<'_>,
    ) -> Result<(), CollectionError> {
        let mut transaction = self.begin_writing().await?;
        let table = match self.lock(&mut transaction, collection).await? {
            Some(table) => table,
            None if mode == WriteMode::Update => return Ok(()),
            None => create_table(&mut transaction, collection, records).await?,
        };
        check_dimensions(&table, records.iter().filter_map(|record| record.embedding.as_ref()))?;
        let batch = Batch { collections: self, table: &table, records };
        let added = match mode {
            WriteMode::Add => batch.add(&mut transaction).await?,
            WriteMode::Update | WriteMode::Upsert => batch.merge(&mut transaction, mode, attempt).await?,
        };
        transaction.commit().await.map_err(failing(OPERATION))?;
        self.database.growth().add(&table.name, added);
        Ok(())
    }

    pub(super) async fn begin_writing(&self) -> Result<Transaction, CollectionError> {
        let settings = [statements::wait_for_writers()];
        self.database.begin_write(&settings).await.map_err(failing(OPERATION))
    }

    /// Waits for other writers of the collection, and returns its table, if it has one.
    pub(super) async fn lock(
        &self,
        connection: &mut PgConnection,
        collection: &Collection,
    ) -> Result<Option<Table>, CollectionError> {
        find_for_update(connection, collection.id).await
    }
}

/// Creates the table of a collection for its first records.
async fn create_table(
    connection: &mut PgConnection,
    collection: &Collection,
    records: &[RecordWrite],
) -> Result<Table, CollectionError> {
    let first = records.iter().find_map(|record| record.embedding.as_ref());
    let dimension = first.map_or(MODEL_DIMENSION, records::Embedding::dimension);
    if dimension > MAX_DIMENSION {
        let reason =
            format!("pgvector stores vectors of up to {MAX_DIMENSION} components, found {dimension}");
        return Err(CollectionError::Unsupported { reason });
    }
    let table = Table {
        name: table_name(collection),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: Vec::new(),
        dimension,
        space: collection.space,
        shared: None,
    };
    // The dimension of an empty collection may be known from its source.
    if let Some(expected) = collection.dimension.and_then(|expected| usize::try_from(expected).ok())
        && expected != dimension
    {
        return Err(CollectionError::Dimension { expected, found: dimension });
    }
    check_dimensions(&table, records.iter().filter_map(|record| record.embedding.as_ref()))?;
    let creations = [
        sql::create_table(&table),
        sql::keep_vectors_in_rows(&table),
        statements::add_collection_columns(std::slice::from_ref(&table.name)),
    ];
    for statement in creations {
        let created = sqlx::raw_sql(statement).execute(&mut *connection).await;
        created.map_err(failing("create the table of a collection"))?;
    }
    set_table(connection, collection.id, &table).await?;
    Ok(table)
}

/// The name of the table that is created for a collection: what PostgreSQL accepts of the collection's name, and its
/// id, so that it is not taken.
fn table_name(collection: &Collection) -> String {
    const NAME_BYTES: usize = 63 - 1 - 32;
    let cleaned: String = collection
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(NAME_BYTES)
        .collect();
    let cleaned = cleaned.trim_start_matches("pg_");
    let name = format!("{cleaned}_{}", collection.id.simple());
    assert!(!is_own_relation(&name), "none of our names ends with an id");
    name
}

/// The records of a request.
struct Batch<'a> {
    collections: &'a Collections,
    table: &'a Table,
    records: &'a [RecordWrite],
}

impl Batch<'_> {
    fn key(&self, id: &str) -> Uuid {
        self.table.row_id(id)
    }

    /// Adds the new ones, and returns their number.
    async fn add(&self, connection: &mut PgConnection) -> Result<u64, CollectionError> {
        let keys: Vec<Uuid> = self.records.iter().map(|record| self.key(&record.id)).collect();
        let existing: Vec<Uuid> = sqlx::query_scalar(sql::existing_rows(self.table))
            .bind(&keys)
            .fetch_all(on(connection))
            .await
            .map_err(failing(OPERATION))?;
        let mut known: HashSet<Uuid> = existing.into_iter().collect();
        let new = self.records.iter().zip(keys).filter(|(_, key)| known.insert(*key));
        let new: Vec<(Uuid, Cow<'_, RecordWrite>)> =
            new.map(|(record, key)| (key, Cow::Borrowed(record))).collect();
        self.insert(connection, &new).await
    }

    /// Merges the records of the batch with each other and with the stored ones, and returns the number of new ones.
    async fn merge(
        &self,
        connection: &mut PgConnection,
        mode: WriteMode,
        attempt: &Attempt<'_>,
    ) -> Result<u64, CollectionError> {
        let mut places: HashMap<Uuid, usize> = HashMap::new();
        let mut merged: Vec<(Uuid, Cow<'_, RecordWrite>)> = Vec::with_capacity(self.records.len());
        for record in self.records {
            let key = self.key(&record.id);
            match places.get(&key) {
                Some(place) => change(merged[*place].1.to_mut(), record),
                None => {
                    places.insert(key, merged.len());
                    merged.push((key, Cow::Borrowed(record)));
                }
            }
        }
        let mut keys: Vec<Uuid> = merged.iter().map(|(key, _)| *key).collect();
        let parts = RecordParts { document: true, metadata: true, uri: true, embedding: false };
        let locks = RowLocks::of(&self.collections.database);
        let statement = match locks {
            RowLocks::Together => statements::lock_collection_records(self.table, keys),
            RowLocks::Each => {
                // In one order, so that two transactions cannot wait for each other.
                keys.sort_unstable();
                locks.lock(connection, self.table, &keys).await.map_err(failing(OPERATION))?;
                statements::collection_records(self.table, keys, parts)
            }
        };
        let mut stored: HashMap<Uuid, CollectionRecord> =
            self.collections.read_all(connection, statement, parts, attempt).await?.into_iter().collect();
        let (mut changed, mut new) = (Vec::new(), Vec::new());
        for (key, record) in &merged {
            match stored.remove(key) {
                Some(stored) => changed.push(self.changed(*key, stored, record)),
                None if mode == WriteMode::Upsert => {
                    let mut record = record.clone();
                    if record.metadata.as_ref().is_some_and(|all| all.values().any(Value::is_null)) {
                        let metadata = record.to_mut().metadata.get_or_insert_default();
                        metadata.retain(|_, value| !value.is_null());
                    }
                    new.push((*key, record));
                }
                None => {}
            }
        }
        if !changed.is_empty() {
            let statement = statements::change_collection_records(self.table, &changed);
            bound(statement).execute(on(connection)).await.map_err(failing(OPERATION))?;
        }
        self.insert(connection, &new).await
    }

    /// The content of a stored record after a change.
    fn changed<'r>(&self, key: Uuid, stored: CollectionRecord, change: &'r RecordWrite) -> ChangedRow<'r> {
        let metadata = match &change.metadata {
            Some(changes) if !changes.is_empty() => {
                let mut metadata = stored.metadata.unwrap_or_default();
                merge_metadata(&mut metadata, changes);
                metadata.retain(|_, value| !value.is_null());
                Some(metadata)
            }
            _ => stored.metadata,
        };
        let metadata = metadata.filter(|metadata| !metadata.is_empty());
        let document = change.document.clone().or(stored.document);
        let uri = change.uri.clone().or(stored.uri);
        let texts = [Some(&stored.id), document.as_ref(), uri.as_ref()];
        let is_escaped = texts.into_iter().flatten().any(|text| text.contains('\0'))
            || metadata.as_ref().is_some_and(metadata_has_nul);
        let text = |text: String| if is_escaped { escaped(&text).into_owned() } else { text };
        let metadata = match is_escaped {
            true => metadata.map(|all| mapped(all, &|text| escaped(text).into_owned())),
            false => metadata,
        };
        let columns = values(self.table, metadata.as_ref());
        ChangedRow {
            key,
            text: document.map(text).or_else(|| self.missing_text()),
            columns: columns.iter().map(as_text).collect(),
            metadata: metadata.as_ref().map(object_to_json),
            uri: uri.map(text),
            embedding: change.embedding.as_ref(),
            is_escaped,
        }
    }

    /// What a row has instead of a document, if it must have one.
    fn missing_text(&self) -> Option<String> {
        (self.table.text == Presence::Required).then(String::new)
    }

    /// Inserts records that do not exist, and returns their number.
    async fn insert(
        &self,
        connection: &mut PgConnection,
        records: &[(Uuid, Cow<'_, RecordWrite>)],
    ) -> Result<u64, CollectionError> {
        if records.is_empty() {
            return Ok(0);
        }
        let (mut rows, now) = (HEADER.to_vec(), now());
        for (key, record) in records {
            // A record without a vector is rejected before.
            let Some(embedding) = &record.embedding else { continue };
            let is_escaped = has_nul(record);
            let text = |text| if is_escaped { escaped(text) } else { Cow::Borrowed(text) };
            let metadata = record.metadata.as_ref().filter(|metadata| !metadata.is_empty());
            let metadata: Option<Cow<'_, Map<String, Value>>> = match is_escaped {
                true => {
                    metadata.map(|all| Cow::Owned(mapped(all.clone(), &|text| escaped(text).into_owned())))
                }
                false => metadata.map(Cow::Borrowed),
            };
            let is_native = is_service(self.table) && key.to_string() == record.id;
            write_collection_row(
                &mut rows,
                &CollectionRow {
                    key: *key,
                    source_id: (!is_native).then(|| text(&record.id)),
                    text: record
                        .document
                        .as_deref()
                        .map(text)
                        .or_else(|| self.missing_text().map(Cow::Owned)),
                    collection: self.table.shared.as_ref().map(|shared| shared.name.as_str()),
                    columns: values(self.table, metadata.as_deref()),
                    metadata: metadata.as_deref().map(object_to_json),
                    uri: record.uri.as_deref().map(text),
                    created_at: created_at(self.table, metadata.as_deref()).unwrap_or(now),
                    embedding,
                    is_escaped,
                },
            );
        }
        let target = statements::collection_rows(self.table);
        send_rows(connection, &target, &rows).await.map_err(failing(OPERATION))
    }
}

/// Whether the table belongs to a service.
fn is_service(table: &Table) -> bool {
    Service::ALL.into_iter().any(|service| service.collection() == table.name)
}

/// The time of a record of a service, which is in its metadata.
fn created_at(table: &Table, metadata: Option<&Map<String, Value>>) -> Option<PrimitiveDateTime> {
    let time = metadata.filter(|_| is_service(table))?.get("timestamp")?;
    time.as_str().and_then(timestamp::parse)
}

/// Applies a later write of the same request.
fn change(record: &mut RecordWrite, later: &RecordWrite) {
    let RecordWrite { id: _, embedding, document, uri, metadata } = later;
    if embedding.is_some() {
        record.embedding.clone_from(embedding);
    }
    if document.is_some() {
        record.document.clone_from(document);
    }
    if uri.is_some() {
        record.uri.clone_from(uri);
    }
    if let Some(changes) = metadata {
        merge_metadata(record.metadata.get_or_insert_default(), changes);
    }
}

/// Nulls stay: they remove keys of the stored record.
fn merge_metadata(metadata: &mut Map<String, Value>, changes: &Map<String, Value>) {
    metadata.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
}

/// Whether the same write may succeed at once: another one has stored one of its records first, or ended its transaction.
fn is_repeatable(error: &CollectionError) -> bool {
    let (CollectionError::Failed { source, .. } | CollectionError::Unavailable { source }) = error else {
        return false;
    };
    let Some(error) = source.downcast_ref::<sqlx::Error>() else { return false };
    is_conflict(error)
        || error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
