//! Entry points of the fuzz targets in `fuzz/`, compiled only for fuzzing and tests.

#[cfg(test)]
mod replay;

use serde_json::Value;

use crate::{
    json::{check_number, decode, exact_object, says_the_same},
    row::object_to_json,
    storage::{Cursor, Filter, unfolded},
};

/// Metadata: from a row to a response, and from a request to a row.
pub fn metadata(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    shown(text);
    stored(text);
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
}

/// Any content of a JSON column can be returned, and parses back to the same value.
fn shown(text: &str) {
    let decoded = decode(text);
    let answer = decoded.value.to_string();
    let again = decode(&answer);
    assert_eq!((&again.value, &*again.problems), (&decoded.value, &[][..]));
    // The private keys of serde_json's numbers are ordinary keys here.
    if !text.contains("private")
        && !text.contains("\\u")
        && let Ok(value) = serde_json::from_str::<Value>(text)
        && decoded.problems.is_empty()
    {
        // serde_json normalizes exponents.
        assert!(says_the_same(&value, &decoded.value), "{value} {}", decoded.value);
    }
    if let Value::Object(metadata) = decoded.value {
        unfolded(metadata);
    }
}

/// Accepted input is stored as sent: JSONB's form has the same value, and is stable.
fn stored(text: &str) {
    let value = decode(text).value;
    // It is rejected or parsed.
    let _ = Filter::from_json(&value);
    let Ok(object) = exact_object(text) else { return };
    if !has_storable_numbers(&value) {
        return;
    }
    let json = object_to_json(&object);
    let read = exact_object(&json).expect("what is written is exact");
    assert!(says_the_same(&Value::Object(read.clone()), &value), "{json}");
    assert_eq!(object_to_json(&read), json);
}

fn has_storable_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) => check_number(number).is_ok(),
        Value::Array(values) => values.iter().all(has_storable_numbers),
        Value::Object(object) => object.values().all(has_storable_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
