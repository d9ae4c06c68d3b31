//! A stored record, and lossless JSON encoding of its metadata.

use std::{fmt, io::Write as _};

use records::{Embedding, Metadata, MetadataValue};
use serde_json::{Map, Value};
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::json::write_number;

/// A row of one of our tables, whose columns [`Table`](crate::postgres::Table) names.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// Primary key.
    pub id: Uuid,
    /// ChromaDB's id of a migrated row, verbatim; `None` for rows created in PostgreSQL.
    pub source_id: Option<String>,
    /// The document, prompt or output.
    pub text: Option<String>,
    /// Values of the columns that repeat metadata keys, in the table's order.
    pub columns: Vec<ColumnValue>,
    /// The user's and the services' keys; `None` if there are none.
    pub metadata: Option<Metadata>,
    /// ChromaDB's `uri`.
    pub uri: Option<String>,
    /// UTC.
    pub created_at: PrimitiveDateTime,
    /// `[dimension]` of the table.
    pub embedding: Embedding,
    /// Whether the embedding was computed from the text because the source had none.
    pub embedding_is_made: bool,
}

/// The value of a column that repeats a metadata key.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnValue {
    /// No value.
    Null,
    /// `text`
    Text(String),
    /// `bigint`
    BigInt(i64),
    /// `double precision`
    Double(f64),
    /// `boolean`
    Boolean(bool),
    /// `timestamp`, UTC
    Timestamp(PrimitiveDateTime),
}

/// The first 128 bits of the SHA-256 of a row's content: rows with equal digests are equal in every column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowDigest(pub [u8; 16]);

/// The JSON object of `metadata`, byte for byte as JSONB prints it, which also preserves types: JSONB stores numbers
/// as `numeric`, where `1` and `1.0` differ by their scale, so a float is written with all digits and a fraction,
/// never with an exponent (`1e16` would be read back as an integer). JSONB sorts keys by length, then by bytes. It
/// has no negative zero, NaN or infinity.
pub fn metadata_to_json(metadata: &Metadata) -> String {
    let mut json = Vec::new();
    write_metadata(&mut json, metadata);
    String::from_utf8(json).expect("JSON of texts is text")
}

/// Appends the result of [`metadata_to_json`].
pub(crate) fn write_metadata(json: &mut Vec<u8>, metadata: &Metadata) {
    write_object(json, metadata.iter(), write_value);
}

/// The same encoding for metadata of any shape.
pub(crate) fn object_to_json(object: &Map<String, Value>) -> String {
    let mut json = Vec::new();
    write_object(&mut json, object.iter(), write_json);
    String::from_utf8(json).expect("JSON of texts is text")
}

fn write_value(json: &mut Vec<u8>, value: &MetadataValue) {
    match value {
        MetadataValue::Bool(value) => write_plain(json, value),
        MetadataValue::Int(value) => write_plain(json, value),
        MetadataValue::Float(value) => write_float(json, *value),
        MetadataValue::Text(text) => write_text(json, text),
        MetadataValue::List(values) => write_list(json, values, write_value),
    }
}

fn write_json(json: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => write_number(json, number),
        Value::Array(values) => write_list(json, values, write_json),
        Value::Object(object) => write_object(json, object.iter(), write_json),
        Value::String(text) => write_text(json, text),
        Value::Null | Value::Bool(_) => write_plain(json, value),
    }
}

fn write_object<'v, V: 'v>(
    json: &mut Vec<u8>,
    entries: impl Iterator<Item = (&'v String, &'v V)>,
    write_value: impl Fn(&mut Vec<u8>, &V),
) {
    let mut entries: Vec<(&String, &V)> = entries.collect();
    entries.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
    json.push(b'{');
    for (position, (key, value)) in entries.into_iter().enumerate() {
        if position > 0 {
            json.extend(b", ");
        }
        write_text(json, key);
        json.extend(b": ");
        write_value(json, value);
    }
    json.push(b'}');
}

fn write_list<V>(json: &mut Vec<u8>, values: &[V], write_value: impl Fn(&mut Vec<u8>, &V)) {
    json.push(b'[');
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            json.extend(b", ");
        }
        write_value(json, value);
    }
    json.push(b']');
}

/// `Debug` would write an exponent; `Display` writes all digits, but omits `.0`.
fn write_float(json: &mut Vec<u8>, value: f64) {
    write_plain(json, value);
    if value.fract() == 0.0 {
        json.extend(b".0");
    }
}

fn write_plain(json: &mut Vec<u8>, value: impl fmt::Display) {
    write!(json, "{value}").expect("writing to memory cannot fail");
}

/// PostgreSQL (`escape_json`) and serde_json escape the same characters in the same way.
fn write_text(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_type_is_written_in_jsonbs_form() {
        let metadata = Metadata::from([
            ("big".into(), MetadataValue::Int(i64::MAX)),
            ("empty".into(), MetadataValue::Text(String::new())),
            ("float".into(), MetadataValue::Float(1.0)),
            ("huge".into(), MetadataValue::Float(1e16)),
            ("kilo\"key".into(), MetadataValue::Text("line\nbreak \u{1f}\u{7f}\u{1F600}".into())),
            ("list".into(), MetadataValue::List(vec![MetadataValue::Float(0.1), MetadataValue::Float(2.0)])),
            ("one".into(), MetadataValue::Int(1)),
            ("true".into(), MetadataValue::Bool(true)),
            ("é".into(), MetadataValue::Bool(false)),
        ]);
        expect![[r#"{"é": false, "big": 9223372036854775807, "one": 1, "huge": 10000000000000000.0, "list": [0.1, 2.0], "true": true, "empty": "", "float": 1.0, "kilo\"key": "line\nbreak \u001f😀"}"#]]
        .assert_eq(&metadata_to_json(&metadata));
    }

    #[test]
    fn metadata_of_any_shape_have_the_same_encoding() {
        let value = serde_json::json!({"deep": {"bb": [1.0, null, {"x": 1e16}], "a": 1}, "c": u64::MAX, "d": -0.5e-7});
        let Value::Object(object) = value else { panic!("an object") };
        expect![[r#"{"c": 18446744073709551615, "d": -0.00000005, "deep": {"a": 1, "bb": [1.0, null, {"x": 10000000000000000.0}]}}"#]]
            .assert_eq(&object_to_json(&object));
    }
}
