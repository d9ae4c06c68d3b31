//! Possible rows of log and records, and a model of their meaning.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use rusqlite::{Connection, types::Value};

use super::{
    in_folder,
    log_model::{self, Document, Records, Row, Vector, Written},
    read_all,
    source::Source,
    tables::{self, Tables},
};
use crate::{MissingReason, Record, database::DATABASE};

const COLLECTIONS: [&str; 2] =
    ["aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"];
const METADATA_SEGMENTS: [&str; 2] =
    ["bbbbbbbb-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"];
const VECTOR_SEGMENTS: [&str; 2] =
    ["cccccccc-0000-4000-8000-000000000001", "cccccccc-0000-4000-8000-000000000002"];

/// Metadata that is invalid or cannot be represented; none of it changes the document.
const INVALID_METADATA: [&[u8]; 8] = [
    b"{",
    b"[]",
    b"null",
    b"",
    b"{\"a\":[{}],\"b\":1e999}",
    b"{\"\xff\":\"\\ud800\"}",
    b"{\"n\":NaN,\"i\":-Infinity,\"big\":123456789012345678901234567890}",
    b"{\"l\":[1,2.5,\"x\",null,true]}",
];

/// The expected content of one collection.
#[derive(Default)]
struct Model {
    stored: Records,
    rows: Vec<Row>,
    mark: Option<i64>,
    /// Records with the row of their last change, which may show that rows of the log had no effect.
    changed: BTreeSet<Vec<u8>>,
}

/// Writes rows, reads the directory and compares the records, their documents and their vectors.
pub fn log_rows(bytes: &[u8]) {
    in_folder(|folder| {
        let mut source = Source::new(bytes);
        let tables = if source.one_in(2) { Tables::Old } else { Tables::New };
        let path = folder.join(DATABASE);
        fs::write(&path, tables::file(tables, folder)).expect("the folder is ours");
        let mut models = [Model::default(), Model::default()];
        fill(&path, &mut source, &mut models).expect("the rows are SQL's");
        for found in read_all(folder).expect("the database is whole") {
            let model = usize::from(found.collection.name == "b");
            assert_eq!(found.count, found.report.records, "{:?}", found.report);
            check(&models[model], &found.records);
        }
    });
}

fn check(model: &Model, found: &[Record]) {
    let wanted = log_model::records(&model.stored, &model.rows, model.mark);
    let mut documents = BTreeMap::new();
    for record in found {
        assert!(documents.insert(record.id.as_bytes().to_vec(), record.document.clone()).is_none());
        let is_like = |wanted: &Written| match (&record.vector, wanted) {
            (crate::Vector::Present { embedding, .. }, Written::Components(wanted)) => {
                embedding.as_slice().iter().map(|x| x.to_bits()).eq(wanted.iter().copied())
            }
            (vector, _) => *vector == crate::Vector::Missing { reason: MissingReason::Undecodable },
        };
        let missing = |reason| record.vector == crate::Vector::Missing { reason };
        let wanted = log_model::vector(&model.rows, record.id.as_bytes());
        let is_right = match &wanted {
            _ if model.changed.contains(record.id.as_bytes()) => true,
            // Of an index that was flushed and is missing.
            Vector::None => missing(MissingReason::NotStored) || missing(MissingReason::IndexLost),
            Vector::Deleted => missing(MissingReason::DeletedInLog),
            Vector::Written(written) => is_like(written),
            Vector::Unknown => true,
        };
        assert!(is_right, "{record:?}, expected {wanted:?}");
    }
    assert_eq!(documents, wanted);
}

fn fill(path: &Path, source: &mut Source<'_>, models: &mut [Model; 2]) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.execute_batch("pragma journal_mode = off; pragma synchronous = off; begin")?;
    let first_row = if source.one_in(4) { source.u64().cast_signed() } else { 1 };
    let mut seq_id = first_row;
    for (number, model) in models.iter_mut().enumerate() {
        fill_marks(&connection, source, number, first_row, model)?;
    }
    let mut count = 0_u8;
    while !source.is_empty() && count < 60 {
        count += 1;
        let number = usize::from(source.below(2));
        match source.below(8) {
            0 => insert_record(&connection, source, number, count, &mut models[number])?,
            // The next number may be any greater one.
            1 => seq_id = seq_id.saturating_add(i64::from(source.u16())),
            _ => {
                if seq_id == i64::MAX {
                    break;
                }
                insert_row(&connection, source, number, seq_id, &mut models[number])?;
                seq_id += 1;
            }
        }
    }
    connection.execute_batch("commit")
}

/// A mark is the number, its 8 or 24 bytes, the result of a migration, or invalid.
fn fill_marks(
    connection: &Connection,
    source: &mut Source<'_>,
    number: usize,
    first_row: i64,
    model: &mut Model,
) -> rusqlite::Result<()> {
    // Greater marks could be mistaken for the result of the migration.
    let mark = first_row.saturating_add(i64::from(source.below(16))).clamp(0, 1 << 50);
    let insert = "insert into max_seq_id values (?1, ?2)";
    let bytes = mark.to_be_bytes();
    let cell = match source.below(8) {
        0 => Some(Value::Integer(mark)),
        1 => Some(Value::Blob(bytes.to_vec())),
        2 => Some(Value::Blob([&[0; 16][..], &bytes].concat())),
        3 if (10_000_000..100_000_000).contains(&mark) => {
            let digits = mark.to_string().into_bytes();
            digits.try_into().ok().map(|digits| Value::Integer(i64::from_be_bytes(digits)))
        }
        _ => None,
    };
    match cell {
        Some(cell) => {
            model.mark = Some(mark);
            connection.execute(insert, (METADATA_SEGMENTS[number], cell))?;
        }
        None if source.one_in(4) => {
            let odd = [Value::Text("x".into()), Value::Blob(vec![1]), Value::Real(0.5), Value::Integer(-7)];
            let cell = odd[usize::from(source.below(4))].clone();
            connection.execute(insert, (METADATA_SEGMENTS[number], cell))?;
        }
        None => {}
    }
    if source.one_in(4) {
        connection.execute(insert, (VECTOR_SEGMENTS[number], mark))?;
    }
    Ok(())
}

fn insert_record(
    connection: &Connection,
    source: &mut Source<'_>,
    number: usize,
    row_id: u8,
    model: &mut Model,
) -> rusqlite::Result<()> {
    let id = id(source);
    if model.stored.contains_key(&id) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&id).into_owned();
    let seq_id = if source.one_in(2) {
        model.changed.insert(id.clone());
        Value::Integer(1)
    } else {
        Value::Blob(vec![1])
    };
    connection.execute(
        "insert into embeddings (id, segment_id, embedding_id, seq_id) values (?1, ?2, ?3, ?4)",
        (row_id, METADATA_SEGMENTS[number], text, seq_id),
    )?;
    let document = source.one_in(2).then(|| format!("document {row_id}"));
    if let Some(document) = &document {
        connection.execute(
            "insert into embedding_metadata (id, key, string_value) values (?1, 'chroma:document', ?2)",
            (row_id, document),
        )?;
    }
    let odd = [Value::Null, Value::Text("x".into()), Value::Blob(vec![0xff]), Value::Real(f64::INFINITY)];
    if source.one_in(4) {
        connection.execute(
            "insert into embedding_metadata (id, key, int_value) values (?1, 'k', ?2)",
            (row_id, &odd[usize::from(source.below(4))]),
        )?;
    }
    model.stored.insert(id, document);
    Ok(())
}

fn insert_row(
    connection: &Connection,
    source: &mut Source<'_>,
    number: usize,
    seq_id: i64,
    model: &mut Model,
) -> rusqlite::Result<()> {
    let insert = "insert into embeddings_queue (seq_id, operation, topic, id, vector, encoding, metadata)
        values (?1, ?2, ?3, ?4, ?5, ?6, cast(?7 as text))";
    let topic = format!("persistent://default/default/{}", COLLECTIONS[number]);
    let id = id(source);
    let (vector, encoding, written) = vector(source);
    let (metadata, document) = metadata(source);
    let text = Value::Text(String::from_utf8_lossy(&id).into_owned());
    let row = |operation: Value, topic: String, id: Value| {
        (Value::Integer(seq_id), operation, topic, id, vector.clone(), encoding.clone(), metadata.clone())
    };
    let operation = source.below(4);
    let known = Value::Integer(i64::from(operation));
    match source.below(16) {
        // A row without content, of an unknown operation, of a missing collection or without an id.
        0 => {
            let odd = [Value::Integer(4), Value::Integer(-1), Value::Text("x".into()), Value::Blob(vec![0])];
            let odd = odd[usize::from(source.below(4))].clone();
            connection.execute(insert, row(odd, topic, text))?;
        }
        1 => drop(connection.execute(insert, row(known, "persistent://x/y/nobody".into(), text))?),
        2 => drop(connection.execute(insert, row(known, COLLECTIONS[number].to_uppercase(), text))?),
        odd => {
            // A BLOB of the same bytes is the same id.
            let cell = if odd == 3 { Value::Blob(id.clone()) } else { text };
            connection.execute(insert, row(known, topic, cell))?;
            model.rows.push(Row { seq_id, operation, id, vector: written, document });
        }
    }
    Ok(())
}

/// One of a few ids, so that several rows have the same.
fn id(source: &mut Source<'_>) -> Vec<u8> {
    ["a", "b", "c", "d", "", "é", "a/b", "'"][usize::from(source.below(8))].into()
}

/// The cells `vector` and `encoding`, and their meaning.
fn vector(source: &mut Source<'_>) -> (Value, Value, Option<Written>) {
    let float32 = Value::Text("FLOAT32".into());
    let count = usize::from(source.below(3)) + 1;
    match source.below(8) {
        0 | 1 => (Value::Null, Value::Null, None),
        2 => {
            let odd = [
                (Value::Blob(vec![]), float32.clone()),
                (Value::Blob(vec![0; 5]), float32.clone()),
                (Value::Text("abcd".into()), float32),
                (Value::Blob(vec![0; 4]), Value::Text("INT32".into())),
            ];
            let (vector, encoding) = odd[usize::from(source.below(4))].clone();
            (vector, encoding, Some(Written::Undecodable))
        }
        _ => {
            let components: Vec<u32> = (0..count).map(|_| source.f32().to_bits()).collect();
            let bytes = components.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            (Value::Blob(bytes), float32, Some(Written::Components(components)))
        }
    }
}

/// The cell `metadata`, as the bytes of its text, and its effect on the document.
fn metadata(source: &mut Source<'_>) -> (Value, Document) {
    let number = source.below(8);
    let cell = |json: &[u8]| Value::Blob(json.to_vec());
    match source.below(8) {
        0 | 1 => (Value::Null, Document::Unsaid),
        2 => (cell(INVALID_METADATA[usize::from(number)]), Document::Unsaid),
        3 => (cell(b"{\"chroma:document\": null, \"k\": null}"), Document::Removed),
        4 => (cell(b"{\"k\": 1}"), Document::Unsaid),
        _ => {
            let json = format!("{{\"k\": {number}, \"chroma:document\": \"text {number}\"}}");
            (cell(json.as_bytes()), Document::Set(format!("text {number}")))
        }
    }
}
