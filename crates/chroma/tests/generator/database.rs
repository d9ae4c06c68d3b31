//! `chroma.sqlite3` (FORMAT §2 – §5).

use std::{collections::BTreeMap, path::Path};

use records::{DistanceSpace, MetadataValue};
use rusqlite::{Connection, types::Value};

use super::{History, Release, Row, State, Written, apply, json};

const FIRST_TABLES: &str = include_str!("../../testdata/tables-0.4.0.sql");
const LAST_TABLES: &str = include_str!("../../testdata/tables-1.5.9.sql");

const DATABASE: &str = "
    insert into tenants values ('tenant');
    insert into databases values ('00000000-0000-0000-0000-000000000000', 'database', 'tenant');";

fn collection_id(collection: usize) -> String {
    format!("aaaaaaaa-0000-4000-8000-00000000000{collection}")
}

fn metadata_segment(collection: usize) -> String {
    format!("bbbbbbbb-0000-4000-8000-00000000000{collection}")
}

pub(super) fn vector_segment(collection: usize) -> String {
    format!("cccccccc-0000-4000-8000-00000000000{collection}")
}

/// Writes all tables; `applied` is the last row that is applied to metadata segments.
pub(super) fn write(directory: &Path, history: &History, states: &[State], log: &[Row], applied: i64) {
    let connection = Connection::open(directory.join("chroma.sqlite3")).unwrap();
    let tables = match history.release {
        Release::First => FIRST_TABLES.to_owned(),
        Release::Last => [LAST_TABLES, DATABASE].concat(),
    };
    let begin = "pragma foreign_keys = off; pragma synchronous = off; begin;";
    connection.execute_batch(&[begin, &tables].concat()).unwrap();
    let mut stored: Vec<BTreeMap<String, Written>> = Vec::new();
    for (number, state) in states.iter().enumerate() {
        write_collection(&connection, history, number);
        // A flush purges the log, and so comes after the metadata segment.
        let applied = applied.max(state.flushed.unwrap_or(0));
        let own = log.iter().filter(|row| row.collection == number);
        let mut records = BTreeMap::new();
        own.clone().filter(|row| row.seq_id <= applied).for_each(|row| apply(&mut records, row));
        stored.push(records);
        let first_kept = if history.purges() { state.flushed.map_or(0, |mark| mark + 1) } else { 0 };
        own.filter(|row| row.seq_id >= first_kept)
            .for_each(|row| write_row(&connection, history.release, row));
        let mark = |number| seq_id(history.release, number);
        let insert = "insert into max_seq_id values (?1, ?2)";
        connection.execute(insert, (metadata_segment(number), mark(applied))).unwrap();
        if let (Some(flushed), Release::Last) = (state.flushed, history.release) {
            connection.execute(insert, (vector_segment(number), mark(flushed))).unwrap();
        }
    }
    write_records(&connection, history.release, &stored);
    connection.execute_batch("commit").unwrap();
}

fn seq_id(release: Release, number: i64) -> Value {
    match release {
        Release::First => Value::Blob(number.to_be_bytes().to_vec()),
        Release::Last => Value::Integer(number),
    }
}

fn write_collection(connection: &Connection, history: &History, number: usize) {
    let id = collection_id(number);
    let space = history.collections[number].space;
    let name = format!("collection {number}");
    match history.release {
        Release::First => {
            let topic = format!("persistent://default/default/{id}");
            let insert = "insert into collections (id, name, topic) values (?1, ?2, ?3)";
            connection.execute(insert, (&id, name, topic)).unwrap();
            let insert =
                "insert into segment_metadata (segment_id, key, str_value) values (?1, 'hnsw:space', ?2)";
            // The default is not stored.
            if space != DistanceSpace::L2 {
                connection.execute(insert, (vector_segment(number), space.as_str())).unwrap();
            }
        }
        Release::Last => {
            let schema = format!(
                r##"{{"keys":{{"#embedding":{{"float_list":{{"vector_index":{{"config":{{"space":"{space}"}}}}}}}}}}}}"##
            );
            let insert = "insert into collections (id, name, database_id, config_json_str, schema_str)
                values (?1, ?2, '00000000-0000-0000-0000-000000000000', '{}', ?3)";
            connection.execute(insert, (&id, name, schema)).unwrap();
        }
    }
    let insert = "insert into segments (id, type, scope, collection) values (?1, ?2, ?3, ?4)";
    for (segment, kind, scope) in [
        (metadata_segment(number), "urn:chroma:segment/metadata/sqlite", "METADATA"),
        (vector_segment(number), "urn:chroma:segment/vector/hnsw-local-persisted", "VECTOR"),
    ] {
        connection.execute(insert, (segment, kind, scope, &id)).unwrap();
    }
}

fn write_row(connection: &Connection, release: Release, row: &Row) {
    let topic = format!("persistent://default/default/{}", collection_id(row.collection));
    let bytes = |vector: &Vec<f32>| vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let vector = row.vector.as_ref().map(bytes);
    let encoding = vector.as_ref().map(|_| "FLOAT32");
    let metadata = row.fields.as_ref().map(|fields| json::write(release, fields));
    let insert = "insert into embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let cells = (row.seq_id, row.operation, topic, &row.id, vector, encoding, metadata);
    connection.execute(insert, cells).unwrap();
}

/// Writes records so that those of different collections alternate in the shared tables.
fn write_records(connection: &Connection, release: Release, stored: &[BTreeMap<String, Written>]) {
    let mut records: Vec<_> = stored
        .iter()
        .enumerate()
        .flat_map(|(number, records)| {
            records.iter().enumerate().map(move |(place, record)| (place, number, record))
        })
        .collect();
    records.sort_by_key(|(place, number, _)| (*place, *number));
    for (row_id, (_, number, (id, record))) in (1_i64..).zip(records) {
        let insert = "insert into embeddings (id, segment_id, embedding_id, seq_id) values (?1, ?2, ?3, ?4)";
        connection
            .execute(insert, (row_id, metadata_segment(number), id, seq_id(release, record.changed)))
            .unwrap();
        for (key, text) in [("chroma:document", &record.document), ("chroma:uri", &record.uri)] {
            if let Some(text) = text {
                write_value(
                    connection,
                    "embedding_metadata",
                    row_id,
                    key,
                    &MetadataValue::Text(text.clone()),
                );
            }
        }
        for (key, value) in &record.metadata {
            match value {
                MetadataValue::List(list) => list.iter().for_each(|element| {
                    write_value(connection, "embedding_metadata_array", row_id, key, element);
                }),
                value => write_value(connection, "embedding_metadata", row_id, key, value),
            }
        }
    }
}

fn write_value(connection: &Connection, table: &str, row_id: i64, key: &str, value: &MetadataValue) {
    let (column, value) = match value {
        MetadataValue::Text(text) => ("string_value", Value::Text(text.clone())),
        MetadataValue::Int(number) => ("int_value", Value::Integer(*number)),
        MetadataValue::Float(number) => ("float_value", Value::Real(*number)),
        MetadataValue::Bool(value) => ("bool_value", Value::Integer(i64::from(*value))),
        MetadataValue::List(_) => panic!("lists do not nest"),
    };
    let insert = format!("insert into {table} (id, key, {column}) values (?1, ?2, ?3)");
    connection.execute(&insert, (row_id, key, value)).unwrap();
}
