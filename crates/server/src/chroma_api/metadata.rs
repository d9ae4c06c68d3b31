//! Metadata of collections and records.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Number, Value};

/// Metadata as clients write them: texts, integers of 64 bits, floats, truth values, and lists of one of these types.
/// Integers beyond 64 bits become floats, as do those of a list with floats.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
pub(super) struct Metadata(pub(super) Map<String, Value>);

/// The same, where null removes a key.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
pub(super) struct MetadataUpdate(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Map::deserialize(deserializer)?;
        let entries: Option<Map<_, _>> =
            entries.into_iter().map(|(key, value)| Some((key, normalized(value)?))).collect();
        entries.map(Self).ok_or_else(|| no_variant("MetadataValue"))
    }
}

impl<'de> Deserialize<'de> for MetadataUpdate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Map::deserialize(deserializer)?;
        let entry = |(key, value): (String, Value)| match value {
            Value::Null => Some((key, Value::Null)),
            value => Some((key, normalized(value)?)),
        };
        let entries: Option<Map<_, _>> = entries.into_iter().map(entry).collect();
        entries.map(Self).ok_or_else(|| no_variant("UpdateMetadataValue"))
    }
}

fn no_variant<E: de::Error>(name: impl fmt::Display) -> E {
    E::custom(format_args!("data did not match any variant of untagged enum {name}"))
}

impl Metadata {
    /// Without the keys of empty lists, which are not stored.
    pub(super) fn stored(mut self) -> Map<String, Value> {
        self.0.retain(|_, value| !is_empty_list(value));
        self.0
    }
}

impl MetadataUpdate {
    /// As new metadata instead of an update of others.
    pub(super) fn replacing(self) -> Map<String, Value> {
        let mut metadata = self.stored();
        metadata.retain(|_, value| !value.is_null());
        metadata
    }

    /// An empty list removes its key.
    pub(super) fn stored(mut self) -> Map<String, Value> {
        self.0.values_mut().filter(|value| is_empty_list(value)).for_each(|value| *value = Value::Null);
        self.0
    }
}

/// Whether clients may write these keys.
pub(super) fn has_valid_keys(metadata: &Map<String, Value>) -> bool {
    metadata.keys().all(|key| !key.is_empty() && !key.starts_with(['$', '#']))
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// Whether clients are not shown the key.
pub(super) fn is_hidden(key: &str) -> bool {
    key.starts_with("chroma:")
}

/// A value in the form in which it is stored.
fn normalized(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::String(_) => Some(value),
        Value::Number(number) => Some(Value::Number(normalized_number(&number)?)),
        Value::Array(values) => normalized_list(values),
        Value::Object(object) => sparse_vector(object),
    }
}

/// An integer of 64 bits, or a float.
pub(super) fn normalized_number(number: &Number) -> Option<Number> {
    let text = number.as_str();
    if !text.contains(['.', 'e', 'E'])
        && text != "-0"
        && let Ok(integer) = text.parse::<i64>()
    {
        return Some(integer.into());
    }
    Number::from_f64(text.parse().ok()?)
}

fn normalized_list(values: Vec<Value>) -> Option<Value> {
    if values.iter().all(Value::is_boolean) || values.iter().all(Value::is_string) {
        return Some(Value::Array(values));
    }
    let numbers: Option<Vec<Number>> = values
        .iter()
        .map(|value| match value {
            Value::Number(number) => normalized_number(number),
            _ => None,
        })
        .collect();
    let numbers = numbers?;
    if numbers.iter().all(|number| number.as_i64().is_some()) {
        return Some(numbers.into_iter().map(Value::Number).collect());
    }
    numbers.iter().map(|number| number.as_f64().and_then(Number::from_f64).map(Value::Number)).collect()
}

/// The key of a sparse vector, if there is one.
pub(super) fn sparse_key(metadata: &Map<String, Value>) -> Option<&str> {
    metadata.iter().find(|(_, value)| value.is_object()).map(|(key, _)| key.as_str())
}

/// A sparse vector, which is read to be rejected by its name.
fn sparse_vector(object: Map<String, Value>) -> Option<Value> {
    let is_typed = object.get("#type").is_none_or(|found| found == "sparse_vector");
    let indices = object.get("indices")?.as_array()?;
    let values = object.get("values")?.as_array()?;
    let are_indices =
        indices.iter().all(|index| index.as_u64().is_some_and(|index| u32::try_from(index).is_ok()));
    if !is_typed || !are_indices || !values.iter().all(Value::is_number) || indices.len() != values.len() {
        return None;
    }
    Some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<String> {
        serde_json::from_str::<Metadata>(text)
            .ok()
            .map(|metadata| Value::Object(metadata.stored()).to_string())
    }

    #[test]
    fn values_keep_their_types() {
        let same = [r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":true}"#, r#"{"a":"x"}"#, r#"{"a":[1,2,1]}"#];
        for text in same {
            assert_eq!(read(text).as_deref(), Some(text));
        }
        assert_eq!(read(r#"{"a":9223372036854775807}"#).as_deref(), Some(r#"{"a":9223372036854775807}"#));
        assert_eq!(read(r#"{"a":9223372036854775808}"#), read(r#"{"a":9223372036854775808.0}"#));
        assert_eq!(read(r#"{"a":[1,2.5]}"#), read(r#"{"a":[1.0,2.5]}"#));
        assert_eq!(read(r#"{"a":[]}"#).as_deref(), Some("{}"));
        for text in
            [r#"{"a":null}"#, r#"{"a":{"b":1}}"#, r#"{"a":[1,"x"]}"#, r#"{"a":[[1]]}"#, r#"{"a":[true,1]}"#]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let update: MetadataUpdate = serde_json::from_value(json!({"a": null, "b": []})).expect("it is one");
        assert_eq!(Value::Object(update.stored()), json!({"a": null, "b": null}));
    }
}
