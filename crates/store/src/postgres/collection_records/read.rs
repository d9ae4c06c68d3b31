//! Reads, counts and deletes records.

use futures_util::{TryStreamExt as _, stream::BoxStream};
use serde_json::{Map, Value};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    CollectionRecord, Collections, RecordParts, RecordSelection,
    escape::{escaped_filter, mapped, unescaped},
    turn::{Attempt, Turn},
    unsupported,
};
use crate::{
    json::decode,
    postgres::{
        Table,
        bounded::{bound, bytes_of},
        collections::{Collection, CollectionError, failing},
        row_locks::RowLocks,
        sql::{
            Sql,
            collections::{self as statements, Rows},
            statement::Statement,
        },
        unnamed::on,
    },
    storage::RecordFilter,
};

const OPERATION: &str = "read records";

/// The keys and the condition of a selection, as the statements take them.
pub(super) struct Wanted {
    pub(super) keys: Option<Vec<Uuid>>,
    pub(super) filter: Option<RecordFilter>,
}

impl Wanted {
    pub(super) fn new(table: &Table, selection: &RecordSelection) -> Self {
        let keys = selection.ids.as_ref().map(|ids| ids.iter().map(|id| table.row_id(id)).collect());
        Self { keys, filter: selection.filter.as_ref().map(escaped_filter) }
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows { keys: self.keys.as_deref(), filter: self.filter.as_ref() }
    }

    /// Whether a condition selects rows of the table.
    pub(super) fn is_filtered(&self, table: &Table) -> bool {
        self.filter.is_some() || table.shared.is_some()
    }

    fn is_none(&self) -> bool {
        self.keys.as_ref().is_some_and(Vec::is_empty)
    }
}

impl Collections {
    /// Records in the order of their insertion: `limit` of them after the first `offset`.
    ///
    /// # Errors
    /// When the collection is gone, a condition cannot be tested, or the database fails.
    pub async fn get(
        &self,
        collection: &Collection,
        selection: &RecordSelection,
        parts: RecordParts,
        (limit, offset): (Option<u32>, u32),
    ) -> Result<Vec<CollectionRecord>, CollectionError> {
        let Some(table) = &collection.table else { return Ok(Vec::new()) };
        let wanted = Wanted::new(table, selection);
        if wanted.is_none() || limit == Some(0) {
            return Ok(Vec::new());
        }
        let statement = statements::list_collection_records(table, wanted.rows(), parts, (limit, offset))
            .map_err(unsupported)?;
        let turn = Turn::default();
        self.read_at_once(collection, (&[], vec![statement]), &turn, |row| read(row, parts)).await
    }

    /// Checks that the database answers, on a connection of its own.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&self) -> Result<(), CollectionError> {
        const OPERATION: &str = "check the registry of collections";
        let mut transaction = self
            .database
            .begin_check()
            .await
            .map_err(|error| CollectionError::Unavailable { source: error.into() })?;
        sqlx::query_scalar!("select id from chroma_collections limit 1")
            .fetch_optional(on(&mut transaction))
            .await
            .map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))
    }

    /// How many records a collection has.
    ///
    /// # Errors
    /// When the collection is gone, or the database fails.
    pub async fn count(&self, collection: &Collection) -> Result<u64, CollectionError> {
        let Some(table) = &collection.table else { return Ok(0) };
        let statement = statements::count_collection_records(table);
        let turn = Turn::default();
        let counts =
            self.read_at_once(collection, (&[], vec![statement]), &turn, |row| row.try_get::<i64, _>(0));
        Ok(counts.await?.first().and_then(|count| u64::try_from(*count).ok()).unwrap_or_default())
    }

    /// Deletes records, the first `limit` of them if there is a limit, and returns their number.
    ///
    /// # Errors
    /// When the collection is gone, a condition cannot be tested, or the database fails.
    pub async fn delete(
        &self,
        collection: &Collection,
        selection: &RecordSelection,
        limit: Option<u32>,
    ) -> Result<u64, CollectionError> {
        const OPERATION: &str = "delete records";
        let mut transaction = self.begin_writing().await?;
        let Some(table) = self.lock(&mut transaction, collection).await? else { return Ok(0) };
        let wanted = Wanted::new(&table, selection);
        if wanted.is_none() {
            return Ok(0);
        }
        let chosen = match limit.filter(|_| RowLocks::of(&self.database) == RowLocks::Each) {
            None => None,
            // The statement that chooses the rows cannot lock them.
            Some(limit) => {
                let parts = RecordParts::default();
                let first =
                    statements::list_collection_records(&table, wanted.rows(), parts, (Some(limit), 0));
                let rows = bound(first.map_err(unsupported)?).fetch(on(&mut transaction));
                let keys = rows.and_then(|row| async move { row.try_get::<Uuid, _>("id") });
                Some(keys.try_collect::<Vec<_>>().await.map_err(failing(OPERATION))?)
            }
        };
        let (rows, limit) = match &chosen {
            None => (wanted.rows(), limit),
            Some(keys) => (Rows { keys: Some(keys), ..wanted.rows() }, None),
        };
        let statement = statements::delete_collection_records(&table, rows, limit).map_err(unsupported)?;
        let deleted = bound(statement).fetch_one(on(&mut transaction)).await;
        let deleted = deleted.and_then(|row| row.try_get::<i64, _>(0)).map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))?;
        Ok(u64::try_from(deleted).unwrap_or_default())
    }
}

impl Collections {
    /// The records with these keys, by key.
    pub(super) async fn with_keys(
        &self,
        connection: &mut PgConnection,
        (table, keys): (&Table, Vec<Uuid>),
        parts: RecordParts,
        attempt: &Attempt<'_>,
    ) -> Result<Vec<(Uuid, CollectionRecord)>, CollectionError> {
        self.read_all(connection, statements::collection_records(table, keys, parts), parts, attempt).await
    }

    /// The records that `statement` returns, by key.
    pub(super) async fn read_all(
        &self,
        connection: &mut PgConnection,
        statement: Statement,
        parts: RecordParts,
        attempt: &Attempt<'_>,
    ) -> Result<Vec<(Uuid, CollectionRecord)>, CollectionError> {
        let rows = bound(statement).fetch(on(connection));
        self.collect(rows, attempt, |row| Ok((row.try_get("id")?, read(row, parts)?))).await
    }

    /// What `read` makes of the rows that the statements return, with these settings. They are one message together with
    /// a check that `collection` is as the registry has it; if it is not, it counts as not found.
    pub(super) async fn read_at_once<T>(
        &self,
        collection: &Collection,
        (settings, mut all): (&[Sql], Vec<Statement>),
        turn: &Turn,
        read: impl Fn(&PgRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, CollectionError> {
        if collection.version.is_some() {
            all.insert(0, statements::collection_version(collection.id));
        }
        let attempt = turn.attempt();
        let done = self.read_message(collection, (settings, &all), &attempt, &read).await;
        if done.is_err() && self.has_given_up(&attempt).await? {
            return self.read_message(collection, (settings, &all), &turn.attempt(), &read).await;
        }
        done
    }

    async fn read_message<T>(
        &self,
        collection: &Collection,
        (settings, all): (&[Sql], &[Statement]),
        attempt: &Attempt<'_>,
        read: &impl Fn(&PgRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, CollectionError> {
        let read = async |mut rows: BoxStream<'_, sqlx::Result<PgRow>>| {
            if collection.version.is_some() {
                let row = rows.try_next().await.map_err(failing(OPERATION))?;
                let found = row.map(|row| row.try_get::<Option<String>, _>("version")).transpose();
                if found.map_err(failing(OPERATION))?.flatten() != collection.version {
                    return Err(CollectionError::NotFound);
                }
            }
            self.collect(rows, attempt, read).await
        };
        self.database.read_at_once(settings, all, failing(OPERATION), read).await
    }

    /// What `read` makes of `rows`. Large answers are read in turn.
    async fn collect<T>(
        &self,
        mut rows: BoxStream<'_, sqlx::Result<PgRow>>,
        attempt: &Attempt<'_>,
        read: impl Fn(&PgRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, CollectionError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(failing(OPERATION))? {
            bytes += bytes_of(&row);
            self.admit(bytes, attempt).await?;
            found.push(read(&row).map_err(failing(OPERATION))?);
        }
        Ok(found)
    }
}

/// Whether the strings of a record are stored with escapes.
pub(super) fn is_escaped(row: &PgRow) -> sqlx::Result<bool> {
    // NULL in a record without escapes, and in a table of a service, whose strings have none.
    Ok(row.try_get::<Option<bool>, _>("is_escaped")? == Some(true))
}

/// The record of a row.
pub(super) fn read(row: &PgRow, parts: RecordParts) -> sqlx::Result<CollectionRecord> {
    let is_escaped = is_escaped(row)?;
    let shown = |text: String| if is_escaped { unescaped(&text) } else { text };
    let id = match row.try_get::<Option<String>, _>("source_id")? {
        Some(source_id) => shown(source_id),
        None => row.try_get::<Uuid, _>("id")?.to_string(),
    };
    let text = |column: &str, is_requested: bool| -> sqlx::Result<Option<String>> {
        let text = if is_requested { row.try_get::<Option<String>, _>(column)? } else { None };
        Ok(text.map(shown))
    };
    let metadata = match parts.metadata {
        // Chroma keeps a URI among the metadata, so that a record with one has some, although they are hidden.
        true => match row.try_get::<Option<&str>, _>("metadata")?.and_then(metadata_of) {
            None => row.try_get::<bool, _>("has_uri")?.then(Map::new),
            metadata => metadata,
        },
        false => None,
    };
    Ok(CollectionRecord {
        id,
        embedding: if parts.embedding { embedding(row)? } else { None },
        document: text("text", parts.document)?,
        uri: text("uri", parts.uri)?,
        metadata: metadata.map(|all| if is_escaped { mapped(all, &unescaped) } else { all }),
    })
}

/// The vector of a row, which is what pgvector sends, in hexadecimal digits.
pub(super) fn embedding(row: &PgRow) -> sqlx::Result<Option<Vec<f32>>> {
    let Some(digits) = row.try_get::<Option<&str>, _>("embedding")? else { return Ok(None) };
    // The dimension and an unused number come first.
    let components = digits.as_bytes().get(2 * size_of::<[u16; 2]>()..).unwrap_or_default();
    let component = |digits: &[u8; 8]| {
        let bits = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        Some(f32::from_bits(bits))
    };
    let components: Option<Vec<f32>> = components.as_chunks().0.iter().map(component).collect();
    components.map(Some).ok_or_else(|| sqlx::Error::Decode("a vector is not in hexadecimal digits".into()))
}

/// JSONB of other programs may have any shape; clients can only be shown objects.
fn metadata_of(text: &str) -> Option<Map<String, Value>> {
    match decode(text).value {
        Value::Object(metadata) => Some(metadata),
        _ => None,
    }
}
