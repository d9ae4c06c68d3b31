//! What the searches of all resources share: the query vector, the fields of the response, and batches.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::Entries;
use crate::{
    answer::{ApiError, SHOWN_CHARACTERS},
    request::Object,
};

/// Most searches of a batch.
pub(crate) const MOST_SEARCHES: usize = 100;

/// Searches to carry out in one call.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SearchBatch<T> {
    /// The searches, each as for the route of single searches.
    pub(crate) searches: Entries<Object<T>, 1, MOST_SEARCHES>,
}

/// A query vector: an array of numbers, or base64 of their bytes, each a little-endian number of single precision, as
/// OpenAI's `encoding_format` has it.
#[derive(Debug)]
pub(crate) struct QueryVector(pub(crate) Vec<f32>);

impl<'de> Deserialize<'de> for QueryVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vec<f32>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of numbers, or base64 of their bytes")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, numbers: A) -> Result<Vec<f32>, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(numbers))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<f32>, E> {
                decode(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor).map(Self)
    }
}

/// The components that `text` encodes.
fn decode(text: &str) -> Result<Vec<f32>, String> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| format!("expected numbers of single precision in base64: {error}"))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        let found = bytes.len();
        return Err(format!("expected four bytes for each component, found {found} bytes in all"));
    }
    let components: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match components.iter().position(|component| !component.is_finite()) {
        Some(place) => Err(format!("component {place} is {}, and not a finite number", components[place])),
        None => Ok(components),
    }
}

impl JsonSchema for QueryVector {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "QueryVector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "array", "items": { "type": "number", "format": "float" } },
                { "type": "string", "contentEncoding": "base64" }
            ]
        })
    }
}

/// The fields of a record in search results; `id` is always one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) text: bool,
    pub(crate) metadata: bool,
    pub(crate) distance: bool,
    pub(crate) score: bool,
    pub(crate) problems: bool,
}

impl Fields {
    const ALL: Self = Self { text: true, metadata: true, distance: true, score: true, problems: true };

    /// The fields with these names; all without names.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for a name that no field has; `text` is the field with the text.
    pub(crate) fn named(text: &str, names: Option<&[String]>) -> Result<Self, ApiError> {
        let Some(names) = names else { return Ok(Self::ALL) };
        let known = ["id", text, "metadata", "distance", "score", "problems"];
        if let Some((place, name)) =
            names.iter().enumerate().find(|(_, name)| !known.contains(&name.as_str()))
        {
            let name = records::shortened(name, SHOWN_CHARACTERS);
            let reason = format!("unknown field `{name}`, expected one of {}", known.join(", "));
            return Err(ApiError::invalid(format!("fields[{place}]"), reason));
        }
        let has = |field: &str| names.iter().any(|name| name == field);
        Ok(Self {
            text: has(text),
            metadata: has("metadata"),
            distance: has("distance"),
            score: has("score"),
            problems: has("problems"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn vectors_are_numbers_or_base64() {
        let read = |value: Value| from_value::<QueryVector>(value).map(|vector| vector.0);
        let components = vec![0.5_f32, -1.25, 3.0];
        let bytes: Vec<u8> = components.iter().flat_map(|component| component.to_le_bytes()).collect();
        assert_eq!(read(json!([0.5, -1.25, 3])).expect("numbers"), components);
        assert_eq!(read(json!(STANDARD.encode(&bytes))).expect("base64"), components);
        assert_eq!(read(json!("")).expect("no components"), Vec::<f32>::new());
        let infinite = STANDARD.encode(f32::INFINITY.to_le_bytes());
        for (value, expected) in [
            (json!("%"), "in base64"),
            (json!(STANDARD.encode(&bytes[1..])), "found 11 bytes"),
            (json!(infinite), "component 0 is inf"),
            (json!(STANDARD.encode(f32::NAN.to_le_bytes())), "component 0 is NaN"),
            (json!({}), "expected an array of numbers, or base64"),
            (json!([1, "a"]), "invalid type: string"),
        ] {
            let error = read(value).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
