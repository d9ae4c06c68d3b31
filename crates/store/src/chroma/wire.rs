//! JSON of requests and responses. Fields that some server versions lack are optional.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use uuid::Uuid;

/// `GET heartbeat`, which identifies a Chroma server.
#[derive(Debug, Deserialize)]
pub(crate) struct Heartbeat {
    #[serde(rename = "nanosecond heartbeat")]
    pub(crate) _nanoseconds: Value,
}

/// `GET auth/identity`, API v2.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Identity {
    pub(crate) tenant: Option<String>,
    #[serde(default)]
    pub(crate) databases: Vec<String>,
}

/// One of `GET databases`, API v2 since 0.6.
#[derive(Debug, Deserialize)]
pub(crate) struct Database {
    pub(crate) name: String,
}

/// One of `GET collections`.
#[derive(Debug, Deserialize)]
pub(crate) struct CollectionEntry {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) metadata: Option<Map<String, Value>>,
    /// Absent before 0.5.1; null before the first write.
    pub(crate) dimension: Option<usize>,
    /// Since 0.5.4.
    pub(crate) configuration_json: Option<Value>,
    /// Since 1.3.
    pub(crate) schema: Option<Value>,
}

impl CollectionEntry {
    pub(crate) fn uuid(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.id).ok()
    }
}

/// A part of records that a request can include.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Column {
    Embeddings,
    Documents,
    Metadatas,
    /// Since 0.4.16; older servers reject it.
    Uris,
}

/// The condition of `POST get` and `POST query`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Condition {
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
    #[serde(rename = "where_document", skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<Value>,
}

/// `POST collections`.
#[derive(Debug, Serialize)]
pub(crate) struct CreateCollectionBody<'b> {
    pub(crate) name: &'b str,
    pub(crate) metadata: &'b Map<String, Value>,
    pub(crate) get_or_create: bool,
}

/// `POST add` and `POST update`: each list has one element per id. Absent lists are unchanged.
#[derive(Debug, Serialize)]
pub(crate) struct RecordsBody<'b> {
    pub(crate) ids: Vec<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) embeddings: Option<Vec<&'b [f32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) documents: Option<Vec<&'b str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadatas: Option<Vec<&'b Map<String, Value>>>,
}

/// `POST delete`.
#[derive(Debug, Serialize)]
pub(crate) struct DeleteBody<'b> {
    pub(crate) ids: &'b [String],
}

/// `POST query` for ids and distances.
#[derive(Debug, Serialize)]
pub(crate) struct QueryBody<'b> {
    pub(crate) query_embeddings: [&'b [f32]; 1],
    pub(crate) n_results: usize,
    #[serde(flatten)]
    pub(crate) condition: &'b Condition,
    pub(crate) include: [&'static str; 1],
}

/// The response: one list per vector, nearest first.
#[derive(Debug, Deserialize)]
pub(crate) struct QueryAnswer {
    pub(crate) ids: Vec<Vec<String>>,
    pub(crate) distances: Option<Vec<Vec<Option<f64>>>>,
}

/// `GET pre-flight-checks`.
#[derive(Debug, Deserialize)]
pub(crate) struct PreFlightChecks {
    pub(crate) max_batch_size: Option<usize>,
}

/// `POST get`.
#[derive(Debug, Serialize)]
pub(crate) struct GetBody<'b> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<&'b [String]>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<&'b Condition>,
    /// Never 0, which Chroma before 1.0 treats as no limit.
    pub(crate) limit: u32,
    /// Always sent: 0.4 fails on a limit without it.
    pub(crate) offset: u64,
    pub(crate) include: &'b [Column],
}

/// The response: each list has one element per id, in the same order. Lists that were not requested are null.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct GetAnswer {
    pub(crate) ids: Vec<String>,
    pub(crate) embeddings: Option<Vec<Option<Components>>>,
    pub(crate) documents: Option<Vec<Option<String>>>,
    pub(crate) metadatas: Option<Vec<Option<Map<String, Value>>>>,
    pub(crate) uris: Option<Vec<Option<String>>>,
}

impl GetAnswer {
    /// Whether each of `columns` has one element per id. Chroma 0.4 omits lost embeddings (FORMAT §10.2), which
    /// assigns the following ones to the wrong ids.
    pub(crate) fn is_aligned(&self, columns: &[Column]) -> bool {
        let count = self.ids.len();
        columns.iter().all(|column| {
            count == 0
                || match column {
                    Column::Embeddings => self.embeddings.as_ref().map(Vec::len),
                    Column::Documents => self.documents.as_ref().map(Vec::len),
                    Column::Metadatas => self.metadatas.as_ref().map(Vec::len),
                    Column::Uris => self.uris.as_ref().map(Vec::len),
                } == Some(count)
        })
    }
}

/// A vector. Servers before 1.0 write an f32 as the f64 of the same value, later ones as the shortest decimal that
/// reads back as the same f32; both are read as f32 without a second rounding.
#[derive(Debug, PartialEq)]
pub(crate) struct Components {
    /// `[dimension]`; NaN where the server sent null.
    pub(crate) values: Vec<f32>,
    /// Whether there was a null, which represents NaN or an infinity.
    pub(crate) has_null: bool,
}

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ComponentsVisitor)
    }
}

struct ComponentsVisitor;

impl<'de> Visitor<'de> for ComponentsVisitor {
    type Value = Components;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Components, A::Error> {
        let mut components = Components { values: Vec::new(), has_null: false };
        while let Some(component) = list.next_element::<Option<f32>>()? {
            components.has_null |= component.is_none();
            components.values.push(component.unwrap_or(f32::NAN));
        }
        Ok(components)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_keep_every_bit_in_both_notations() {
        let floats =
            [f32::MIN_POSITIVE, 1e-45, -1e-40, 3.4e38, 1.000_000_1, 0.333_333_34, -0.0, 16_777_217.0];
        for float in floats {
            for notation in [format!("[{float:?}]"), format!("[{:?}]", f64::from(float))] {
                let read: Components = serde_json::from_str(&notation).expect("a list of numbers");
                assert_eq!(read.values[0].to_bits(), float.to_bits(), "{notation}");
            }
        }
        // Halfway cases: through f64 they would be rounded twice.
        let read: Components = serde_json::from_str("[1.00000017881393432617187499]").expect("a number");
        assert_eq!(read.values, [1.000_000_1]);
    }

    #[test]
    fn null_components_are_nan_and_reported() {
        let read: Components = serde_json::from_str("[1, null]").expect("a list of numbers and null");
        assert!(read.has_null && read.values[0] == 1.0 && read.values[1].is_nan());
    }

    #[test]
    fn lists_of_different_lengths_are_detected() {
        let answer: GetAnswer =
            serde_json::from_str(r#"{"ids":["a","b"],"embeddings":[[1]],"documents":["x",null]}"#)
                .expect("an answer");
        assert!(answer.is_aligned(&[Column::Documents]) && answer.is_aligned(&[]));
        assert!(!answer.is_aligned(&[Column::Embeddings]) && !answer.is_aligned(&[Column::Uris]));
    }
}
