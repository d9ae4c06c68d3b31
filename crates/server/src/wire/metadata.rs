//! Ids, metadata and conditions as clients send them.

use std::{borrow::Cow, fmt};

use records::MAX_ID_CHARS;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value, value::RawValue};
use store::{json::exact_object, storage::FilterError};

use crate::answer::ApiError;

/// An id chosen by the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(pub(crate) String);

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ClientId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text of 1 to {MAX_ID_CHARS} characters")
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<ClientId, E> {
                if (1..=MAX_ID_CHARS).contains(&id.chars().count()) {
                    Ok(ClientId(id.to_owned()))
                } else {
                    Err(E::invalid_length(id.chars().count(), &self))
                }
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for ClientId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClientId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS })
    }
}

/// A JSON object that is stored exactly as written or rejected: numbers keep all their digits, and invalid Unicode
/// and duplicate keys are errors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExactObject(Map<String, Value>);

impl ExactObject {
    /// Its entries.
    pub(crate) fn into_inner(self) -> Map<String, Value> {
        self.0
    }
}

impl<'de> Deserialize<'de> for ExactObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        exact_object(json.get()).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for ExactObject {
    fn inline_schema() -> bool {
        Map::<String, Value>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        Map::<String, Value>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Map::<String, Value>::json_schema(generator)
    }
}

/// Parses the condition in `field`: JSON, or in a query string its text.
pub(crate) fn condition<T>(
    field: &'static str,
    condition: Option<Value>,
    read: impl Fn(&Value) -> Result<T, FilterError>,
) -> Result<Option<T>, ApiError> {
    let Some(condition) = condition else { return Ok(None) };
    let condition = match condition {
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|error| ApiError::invalid(field, format!("expected JSON: {error}")))?,
        condition => condition,
    };
    let read = read(&condition).map_err(|FilterError { place, reason }| ApiError::invalid(place, reason))?;
    Ok(Some(read))
}
