//! Converts rows to records, including those of the old services. A value that cannot be represented does not affect
//! others.

use serde_json::{Map, Value};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Problem, ProblemKind, StoredTime,
    json::{METADATA, decode_metadata},
    postgres::{Table, sql::NOT_AN_OBJECT},
    storage::{Record, folding},
};

/// The record of a row. Service keys missing from the stored metadata are taken from the columns.
pub(super) fn read_record(row: &PgRow, table: &Table) -> sqlx::Result<Record> {
    let source_id: Option<String> = row.try_get("source_id")?;
    let id = match source_id {
        Some(source_id) => source_id,
        None => row.try_get::<Uuid, _>("id")?.to_string(),
    };
    let mut problems = Vec::new();
    let mut metadata = match decode_metadata(row.try_get("metadata")?, &mut problems) {
        // The row may come from a migrated collection of a service.
        Some(Value::Object(metadata)) => folding::unfold(metadata),
        // JSONB of the old services may have any shape; it is returned, not lost.
        Some(other) => Map::from_iter([(NOT_AN_OBJECT.to_owned(), other)]),
        None => Map::new(),
    };
    let created_at: Option<StoredTime> = row.try_get("created_at")?;
    for column in &table.columns {
        if !metadata.contains_key(&column.key) {
            let value: Option<String> = row.try_get(column.name.as_str())?;
            if value.is_none() {
                problems.push(Problem::at(METADATA, &*column.key, ProblemKind::Null, ""));
            }
            metadata.insert(column.key.clone(), value.into());
        }
    }
    if !metadata.contains_key("timestamp") {
        let problem = |kind, original| Problem::at(METADATA, "timestamp", kind, original);
        match created_at {
            None => problems.push(problem(ProblemKind::Null, String::new())),
            Some(time) if time.in_calendar().is_none() => {
                problems.push(problem(ProblemKind::TimeOutOfRange, time.to_string()));
            }
            Some(_) => {}
        }
        metadata.insert("timestamp".to_owned(), created_at.map(|time| time.to_string()).into());
    }
    let text: Option<String> = row.try_get("text")?;
    if text.is_none() {
        problems.push(Problem::new("text", ProblemKind::Null, ""));
    }
    // A missing text is returned as empty; the problem above reports it.
    Ok(Record { id, text: text.unwrap_or_default(), metadata, created_at, problems })
}
