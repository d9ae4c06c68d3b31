//! One stored record of any service, and how its metadata is written as JSON without losing a type.

use std::fmt::Write as _;

use records::{Embedding, Metadata, MetadataValue};
use serde_json::Value;
use time::PrimitiveDateTime;
use uuid::Uuid;

/// A row of `queries`, `evaluation_metrics` or `llm_outputs`: the three tables differ in their columns' names only,
/// and in the two more that `llm_outputs` has.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// Primary key.
    pub id: Uuid,
    /// ChromaDB's id, verbatim, of a migrated row; `None` for rows born in PostgreSQL.
    pub source_id: Option<String>,
    /// The prompt or output.
    pub text: String,
    /// Theme or metric type.
    pub category: String,
    /// `model_id` and `query` of an output, in this order; nothing for the other services.
    pub attributes: Vec<String>,
    /// The user's keys and those that the services added; `None` when there are none.
    pub metadata: Option<Metadata>,
    /// ChromaDB's `uri`.
    pub uri: Option<String>,
    /// UTC.
    pub created_at: PrimitiveDateTime,
    /// `[384]` in the services' tables.
    pub embedding: Embedding,
}

/// JSON in a `metadata` column that ChromaDB metadata cannot be.
#[derive(Debug, thiserror::Error)]
pub enum MetadataJsonError {
    /// Not JSON at all.
    #[error("failed to parse metadata")]
    Syntax(#[source] serde_json::Error),
    /// Not an object, or an object or null inside.
    #[error("metadata is not a flat object")]
    Shape,
}

/// The JSON object of `metadata`, in a form that JSONB gives back with each type kept: JSONB holds numbers as
/// `numeric`, where `1` and `1.0` differ by their scale, so a float is written with its digits spelt out and a
/// fraction, never with an exponent (`1e16` would come back as a whole number).
pub fn metadata_to_json(metadata: &Metadata) -> String {
    let mut json = String::from("{");
    for (position, (key, value)) in metadata.iter().enumerate() {
        if position > 0 {
            json.push(',');
        }
        json.push_str(&Value::from(key.as_str()).to_string());
        json.push(':');
        write_value(&mut json, value);
    }
    json.push('}');
    json
}

fn write_value(json: &mut String, value: &MetadataValue) {
    let written = match value {
        MetadataValue::Bool(value) => write!(json, "{value}"),
        MetadataValue::Int(value) => write!(json, "{value}"),
        // `Display` of f64 is the shortest decimal that reads back the same, without an exponent.
        MetadataValue::Float(value) if value.fract() == 0.0 => write!(json, "{value}.0"),
        MetadataValue::Float(value) => write!(json, "{value}"),
        MetadataValue::Text(value) => write!(json, "{}", Value::from(value.as_str())),
        MetadataValue::List(values) => {
            json.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    json.push(',');
                }
                write_value(json, value);
            }
            json.push(']');
            Ok(())
        }
    };
    written.expect("writing to a string cannot fail");
}

/// Reads metadata back from the text of a JSONB column.
///
/// # Errors
/// When `json` is not a flat object of scalars and lists of scalars.
pub fn metadata_from_json(json: &str) -> Result<Metadata, MetadataJsonError> {
    let Value::Object(object) = serde_json::from_str(json).map_err(MetadataJsonError::Syntax)? else {
        return Err(MetadataJsonError::Shape);
    };
    object
        .into_iter()
        .map(|(key, value)| Ok((key, read_value(value).ok_or(MetadataJsonError::Shape)?)))
        .collect()
}

fn read_value(value: Value) -> Option<MetadataValue> {
    match value {
        Value::Bool(value) => Some(MetadataValue::Bool(value)),
        Value::Number(number) => number
            .as_i64()
            .map(MetadataValue::Int)
            .or_else(|| number.is_f64().then(|| number.as_f64().map(MetadataValue::Float)).flatten()),
        Value::String(value) => Some(MetadataValue::Text(value)),
        Value::Array(values) => {
            values.into_iter().map(read_value).collect::<Option<_>>().map(MetadataValue::List)
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_type_is_written_so_that_it_reads_back_as_itself() {
        let metadata = Metadata::from([
            ("big".into(), MetadataValue::Int(i64::MAX)),
            ("empty".into(), MetadataValue::Text(String::new())),
            ("float".into(), MetadataValue::Float(1.0)),
            ("huge".into(), MetadataValue::Float(1e16)),
            ("kilo\"key".into(), MetadataValue::Text("line\nbreak \u{1F600}".into())),
            ("list".into(), MetadataValue::List(vec![MetadataValue::Float(0.1), MetadataValue::Float(2.0)])),
            ("one".into(), MetadataValue::Int(1)),
            ("true".into(), MetadataValue::Bool(true)),
        ]);
        let json = metadata_to_json(&metadata);
        expect![[r#"{"big":9223372036854775807,"empty":"","float":1.0,"huge":10000000000000000.0,"kilo\"key":"line\nbreak 😀","list":[0.1,2.0],"one":1,"true":true}"#]]
        .assert_eq(&json);
        assert_eq!(metadata_from_json(&json).expect("our own JSON reads"), metadata);
    }

    #[test]
    fn extreme_floats_keep_every_bit() {
        for float in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, -1.5e300] {
            let metadata = Metadata::from([("f".into(), MetadataValue::Float(float))]);
            let read = metadata_from_json(&metadata_to_json(&metadata)).expect("our own JSON reads");
            assert_eq!(read, metadata, "{float:e}");
        }
    }

    #[test]
    fn nested_metadata_is_refused() {
        for json in [r#"{"a":{}}"#, r#"{"a":null}"#, "[]", "1"] {
            assert!(matches!(metadata_from_json(json), Err(MetadataJsonError::Shape)), "{json}");
        }
    }
}
