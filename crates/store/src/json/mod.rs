//! JSON from rows and clients. PostgreSQL's types `json` and `jsonb` accept more than JSON libraries: lone
//! surrogates, numbers of any length, duplicate keys, thousands of levels. Here every number keeps its digits, and a
//! value that cannot be represented does not affect others.

mod number;
mod parser;

use serde_json::{Map, Value};

pub(crate) use number::{Unstorable, check_number, is_same, order, write_number};
pub use parser::{Decoded, decode, decode_answer};

use crate::problem::{Problem, ProblemKind};

/// The name of the metadata column in responses.
pub(crate) const METADATA: &str = "metadata";

/// Why a text is not a JSON object that a client may store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}{reason}")]
pub struct Inexact {
    place: String,
    reason: &'static str,
}

/// Parses a client's object, preserving every value exactly.
///
/// # Errors
/// When it is not an object, or a part would have to be changed or dropped. The message begins with the path of that
/// part, "at `a.b[1]`: ".
pub fn exact_object(text: &str) -> Result<Map<String, Value>, Inexact> {
    let Decoded { value, problems } = decode(text);
    if let Some(problem) = problems.first() {
        let place = problem.key.as_ref().map_or_else(String::new, |key| format!("at `{key}`: "));
        let reason = match problem.kind {
            ProblemKind::NotUnicode => "contains a lone surrogate, which is not a character",
            ProblemKind::DuplicateKey => "expected one value, found two",
            ProblemKind::TooDeep => "is nested deeper than 100 levels",
            _ => "expected JSON",
        };
        return Err(Inexact { place, reason });
    }
    if let Some(place) = place_of_private_key(&value) {
        return Err(Inexact {
            place: format!("at `{place}`: "),
            reason: "its name is reserved: use another one",
        });
    }
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Inexact { place: String::new(), reason: "expected an object" }),
    }
}

/// Decodes the value of a metadata column.
pub(crate) fn decode_metadata(text: Option<&str>, problems: &mut Vec<Problem>) -> Option<Value> {
    let Decoded { value, problems: found } = decode(text?);
    problems.extend(found.into_iter().map(|problem| Problem { field: METADATA.to_owned(), ..problem }));
    Some(value)
}

/// Keys by which serde_json passes numbers with all their digits: it would misinterpret an object with such a key.
const PRIVATE_PREFIX: &str = "$serde_json::private::";

fn place_of_private_key(value: &Value) -> Option<String> {
    match value {
        Value::Object(object) => {
            object.iter().find_map(|(key, value)| match key.starts_with(PRIVATE_PREFIX) {
                true => Some(key.clone()),
                false => place_of_private_key(value).map(|place| match place.starts_with('[') {
                    true => format!("{key}{place}"),
                    false => format!("{key}.{place}"),
                }),
            })
        }
        Value::Array(list) => list.iter().enumerate().find_map(|(index, value)| {
            place_of_private_key(value).map(|place| match place.starts_with('[') {
                true => format!("[{index}]{place}"),
                false => format!("[{index}].{place}"),
            })
        }),
        _ => None,
    }
}

/// `metadata` as all stores return them: with numbers in JSONB's form.
pub(crate) fn as_all_stores_show(mut metadata: Map<String, Value>) -> Map<String, Value> {
    metadata.values_mut().for_each(|value| *value = as_jsonb_has_it(value.take()));
    metadata
}

/// `value` with its numbers in JSONB's form.
fn as_jsonb_has_it(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let mut json = Vec::new();
            write_number(&mut json, &number);
            String::from_utf8(json).map_or(Value::Number(number), |text| {
                Value::Number(serde_json::Number::from_string_unchecked(text))
            })
        }
        Value::Array(list) => list.into_iter().map(as_jsonb_has_it).collect(),
        Value::Object(object) => {
            object.into_iter().map(|(key, value)| (key, as_jsonb_has_it(value))).collect()
        }
        value => value,
    }
}

/// Whether both values are equal: numbers by value, with integers distinct from fractions, everything else exactly.
pub(crate) fn says_the_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => is_same(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| says_the_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => objects_say_the_same(one, other),
        (one, other) => one == other,
    }
}

/// [`says_the_same`] of objects.
pub(crate) fn objects_say_the_same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len()
        && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| says_the_same(value, other)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_of_a_client_is_exact_or_rejected_with_the_path() {
        let refused = |text: &str| exact_object(text).expect_err("it is refused").to_string();
        assert_eq!(
            refused(r#"{"a": ["x", "\ud83d"]}"#),
            "at `a[1]`: contains a lone surrogate, which is not a character"
        );
        assert_eq!(refused(r#"{"a": {"b": 1, "b": 2}}"#), "at `a.b`: expected one value, found two");
        assert_eq!(refused("[1]"), "expected an object");
        assert_eq!(
            refused(r#"{"a": [{"\u0024serde_json::private::Number": "1"}]}"#),
            "at `a[0].$serde_json::private::Number`: its name is reserved: use another one"
        );
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(refused(&deep).ends_with("is nested deeper than 100 levels"));
        let big = exact_object(r#"{"v": 18446744073709551616, "w": 0.1234567890123456789012345}"#);
        let big = Value::Object(big.expect("it is one"));
        assert_eq!(big.to_string(), r#"{"v":18446744073709551616,"w":0.1234567890123456789012345}"#);
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        let read = |text: &str| decode(text).value;
        assert!(says_the_same(&read(r#"{"a": [1.50]}"#), &json!({"a": [1.5]})));
        assert!(!says_the_same(&json!(1), &json!(1.0)));
        assert!(!says_the_same(&read("18446744073709551616"), &read("18446744073709551617")));
    }
}
