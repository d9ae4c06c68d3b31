//! Reads records out of rows, those of the old services too.

use records::timestamp;
use serde_json::{Map, Value};
use sqlx::{Row as _, postgres::PgRow};
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::{
    postgres::{Table, ddl::NOT_AN_OBJECT},
    storage::{Record, folding},
};

/// The record of a row with the columns of a record. What the stored metadata lack of the service's own keys is shown
/// from the columns.
pub(super) fn read_record(row: &PgRow, table: &Table) -> sqlx::Result<Record> {
    let source_id: Option<String> = row.try_get("source_id")?;
    let id = match source_id {
        Some(source_id) => source_id,
        None => row.try_get::<Uuid, _>("id")?.to_string(),
    };
    let stored = row.try_get::<Option<&str>, _>("metadata")?.map(serde_json::from_str::<Value>);
    let mut metadata = match stored.transpose().map_err(|error| sqlx::Error::Decode(error.into()))? {
        // A collection that kept a service's records may have been migrated.
        Some(Value::Object(metadata)) => folding::unfold(metadata),
        // JSONB of the old services' users may hold anything; it is shown, not lost.
        Some(other) => Map::from_iter([(NOT_AN_OBJECT.to_owned(), other)]),
        None => Map::new(),
    };
    let created_at: PrimitiveDateTime = row.try_get("created_at")?;
    for column in &table.columns {
        if !metadata.contains_key(&column.key) {
            let value: String = row.try_get(column.name.as_str())?;
            metadata.insert(column.key.clone(), Value::String(value));
        }
    }
    metadata.entry("timestamp").or_insert_with(|| Value::String(timestamp::format(created_at)));
    Ok(Record { id, text: row.try_get("text")?, metadata, created_at: Some(created_at) })
}
