//! The bodies of requests about records.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use records::Embedding;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use serde_json::Value;

use super::metadata::{Metadata, MetadataUpdate};

/// A body of `add`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Add {
    pub(super) ids: Vec<String>,
    pub(super) embeddings: Vectors,
    pub(super) documents: Option<Vec<Option<String>>>,
    pub(super) uris: Option<Vec<Option<String>>>,
    pub(super) metadatas: Option<Vec<Option<Metadata>>>,
}

/// A body of `upsert`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Upsert {
    pub(super) ids: Vec<String>,
    pub(super) embeddings: Vectors,
    pub(super) documents: Option<Vec<Option<String>>>,
    pub(super) uris: Option<Vec<Option<String>>>,
    pub(super) metadatas: Option<Vec<Option<MetadataUpdate>>>,
}

/// A body of `update`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Update {
    pub(super) ids: Vec<String>,
    pub(super) embeddings: Option<OptionalVectors>,
    pub(super) documents: Option<Vec<Option<String>>>,
    pub(super) uris: Option<Vec<Option<String>>>,
    pub(super) metadatas: Option<Vec<Option<MetadataUpdate>>>,
}

/// A body of `get`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Get {
    pub(super) ids: Option<Vec<String>>,
    pub(super) r#where: Option<Value>,
    pub(super) where_document: Option<Value>,
    pub(super) limit: Option<u32>,
    pub(super) offset: Option<u32>,
    #[serde(default = "get_parts")]
    pub(super) include: Vec<Include>,
}

/// A body of `query`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Query {
    pub(super) query_embeddings: Vec<Numbers>,
    pub(super) n_results: Option<u32>,
    pub(super) ids: Option<Vec<String>>,
    pub(super) r#where: Option<Value>,
    pub(super) where_document: Option<Value>,
    #[serde(default = "query_parts")]
    pub(super) include: Vec<Include>,
}

/// A body of `delete`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Delete {
    pub(super) ids: Option<Vec<String>>,
    pub(super) r#where: Option<Value>,
    pub(super) where_document: Option<Value>,
    pub(super) limit: Option<u32>,
}

/// A part of records in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Include {
    Distances,
    Documents,
    Embeddings,
    Metadatas,
    Uris,
}

fn get_parts() -> Vec<Include> {
    vec![Include::Documents, Include::Metadatas]
}

fn query_parts() -> Vec<Include> {
    vec![Include::Documents, Include::Metadatas, Include::Distances]
}

/// Vectors, all as lists of numbers or all as base64 of little-endian numbers of 32 bits; or what is wrong with the
/// base64, which is not an error of the body's form.
#[derive(Debug)]
pub(super) struct Vectors(pub(super) Result<Vec<Embedding>, String>);

/// The same, where null leaves the stored one.
#[derive(Debug)]
pub(super) struct OptionalVectors(pub(super) Result<Vec<Option<Embedding>>, String>);

impl<'de> Deserialize<'de> for Vectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let vectors: Vec<Vector> =
            Vec::deserialize(deserializer).map_err(|error| of_payload(&error, "EmbeddingsPayload"))?;
        are_alike(vectors.iter()).map_err(|()| no_variant("EmbeddingsPayload"))?;
        Ok(Self(vectors.into_iter().enumerate().map(|(index, vector)| vector.embedding(index)).collect()))
    }
}

impl<'de> Deserialize<'de> for OptionalVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAME: &str = "UpdateEmbeddingsPayload";
        let vectors: Vec<Option<Vector>> =
            Vec::deserialize(deserializer).map_err(|error| of_payload(&error, NAME))?;
        are_alike(vectors.iter().flatten()).map_err(|()| no_variant(NAME))?;
        let embedding = |(index, vector): (usize, Option<Vector>)| {
            vector.map(|vector| vector.embedding(index)).transpose()
        };
        Ok(Self(vectors.into_iter().enumerate().map(embedding).collect()))
    }
}

fn are_alike<'v>(vectors: impl Iterator<Item = &'v Vector>) -> Result<(), ()> {
    let mut forms = vectors.map(|vector| vector.is_encoded);
    let first = forms.next();
    if forms.all(|form| Some(form) == first) { Ok(()) } else { Err(()) }
}

/// A vector as a list of numbers.
#[derive(Debug)]
pub(super) struct Numbers(pub(super) Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Vector::deserialize(deserializer)? {
            Vector { components: Ok(components), is_encoded: false } => Ok(Self(components)),
            Vector { .. } => Err(de::Error::custom("invalid type: string, expected a sequence")),
        }
    }
}

/// The schema of a vector.
fn vector_schema() -> Schema {
    json_schema!({
        "oneOf": [
            { "type": "array", "items": { "type": "number" } },
            { "type": "string", "description": "Base64 of little-endian numbers of 32 bits." },
        ]
    })
}

impl JsonSchema for Vectors {
    fn schema_name() -> Cow<'static, str> {
        "Vectors".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": vector_schema() })
    }
}

impl JsonSchema for OptionalVectors {
    fn schema_name() -> Cow<'static, str> {
        "OptionalVectors".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "anyOf": [vector_schema(), { "type": "null" }] } })
    }
}

impl JsonSchema for Numbers {
    fn schema_name() -> Cow<'static, str> {
        "Numbers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "number" } })
    }
}

/// The message of Chroma; errors of syntax are found again by the caller.
fn of_payload<E: de::Error>(error: &E, name: &str) -> E {
    E::custom(format_args!("data did not match any variant of untagged enum {name}: {error}"))
}

fn no_variant<E: de::Error>(name: &str) -> E {
    E::custom(format_args!("data did not match any variant of untagged enum {name}"))
}

struct Vector {
    /// Or what is wrong with the base64.
    components: Result<Vec<f32>, String>,
    is_encoded: bool,
}

impl Vector {
    fn embedding(self, index: usize) -> Result<Embedding, String> {
        let components = self.components?;
        match components.iter().find(|component| !component.is_finite()) {
            // Those of lists are found later, with another message.
            Some(component) if self.is_encoded => {
                Err(format!("Non-finite float value at embedding index {index}: {component}"))
            }
            _ => Ok(components.into()),
        }
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfAnyForm;

        impl<'de> Visitor<'de> for OfAnyForm {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or base64")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vector, A::Error> {
                let mut components = Vec::new();
                // As Chroma reads them: one beyond the range is infinite, and rejected later.
                while let Some(component) = numbers.next_element::<f64>()? {
                    components.push(component as f32);
                }
                Ok(Vector { components: Ok(components), is_encoded: false })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vector, E> {
                Ok(Vector { components: decoded(text), is_encoded: true })
            }
        }

        deserializer.deserialize_any(OfAnyForm)
    }
}

/// The numbers of base64, or Chroma's message about it.
fn decoded(text: &str) -> Result<Vec<f32>, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("Invalid base64 string: {error}"))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!(
            "Invalid byte length: {} bytes cannot be converted to f32 values (must be divisible by 4)",
            bytes.len()
        ));
    }
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_as_numbers_or_as_base64() {
        let read = |text: &str| serde_json::from_str::<Vectors>(text).ok().map(|vectors| vectors.0);
        let problem = |text: &str| read(text).and_then(Result::err);
        let expected = vec![Embedding::from(vec![1.0_f32, -0.0]), Embedding::from(vec![0.5, 2.0])];
        let numbers = read("[[1, -0.0], [0.5, 2]]").expect("it is read").expect("they are numbers");
        assert_eq!(numbers, expected);
        assert!(numbers[0].as_slice()[1].is_sign_negative());
        let encoded = read(r#"["AACAPwAAAIA=", "AAAAPwAAAEA="]"#).expect("it is read").expect("it is base64");
        assert_eq!(encoded, expected);
        assert!(encoded[0].as_slice()[1].is_sign_negative());
        for text in ["[null]", r#"[["x"]]"#, r#"[[1], "AACAPw=="]"#, "5"] {
            assert_eq!(read(text), None, "{text}");
        }
        for (text, expected) in [
            (
                r#"["AACA"]"#,
                "Invalid byte length: 3 bytes cannot be converted to f32 values (must be divisible by 4)",
            ),
            (r#"["AA*A"]"#, "Invalid base64 string: Invalid symbol 42, offset 2."),
            (r#"["AACAPwAAAIA"]"#, "Invalid base64 string: Invalid padding"),
            (r#"["AACAPw==", "AACAfw=="]"#, "Non-finite float value at embedding index 1: inf"),
        ] {
            assert_eq!(problem(text).as_deref(), Some(expected), "{text}");
        }
        let optional: OptionalVectors = serde_json::from_str("[null, [1]]").expect("one is given");
        assert_eq!(optional.0, Ok(vec![None, Some(vec![1.0].into())]));
    }
}
