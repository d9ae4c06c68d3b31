//! Converts the API's columns to records and metadata.

use chroma::{Field, MissingReason, Origin, Problem, ProblemKind, Record, Tally, Vector, WarningCode};
use records::{DistanceSpace, Metadata, MetadataValue};
use serde_json::{Map, Value};

use super::wire::{Components, GetAnswer};

/// The parts of a record as returned by a server; all absent for a record with only an id.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) embedding: Option<Components>,
    pub(crate) document: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) uri: Option<String>,
    /// Parts that the server fails to return.
    pub(crate) problems: Vec<Problem>,
    /// Whether the vector is among them.
    pub(crate) embedding_fails: bool,
}

/// The ids and parts of a response, in order. Columns that were not requested are absent parts.
pub(crate) fn rows(answer: GetAnswer) -> impl Iterator<Item = (String, Parts)> {
    let mut embeddings = answer.embeddings.unwrap_or_default().into_iter();
    let mut documents = answer.documents.unwrap_or_default().into_iter();
    let mut metadatas = answer.metadatas.unwrap_or_default().into_iter();
    let mut uris = answer.uris.unwrap_or_default().into_iter();
    answer.ids.into_iter().map(move |id| {
        let parts = Parts {
            embedding: embeddings.next().flatten(),
            document: documents.next().flatten(),
            metadata: metadatas.next().flatten(),
            uri: uris.next().flatten(),
            ..Parts::default()
        };
        (id, parts)
    })
}

/// The record of `id` in a collection of `space`; counts problems in `tally`.
pub(crate) fn record(id: String, parts: Parts, space: DistanceSpace, tally: &mut Tally) -> Record {
    let Parts { embedding, document, metadata, uri, mut problems, embedding_fails } = parts;
    let mut user_metadata = Metadata::new();
    for (key, value) in metadata.into_iter().flatten() {
        match metadata_value(&value) {
            Some(value) => drop(user_metadata.insert(key, value)),
            None => {
                if value.is_null() {
                    let what =
                        "records have metadata values that JSON cannot carry (an infinity), sent as null";
                    tally.add(WarningCode::MetadataValueLost, what, id.as_bytes());
                }
                let (kind, original) = (ProblemKind::NotRepresentable, value.to_string().into_bytes());
                problems.push(Problem { field: Field::Metadata(key), kind, original: original.into() });
            }
        }
    }
    let vector = match embedding {
        Some(Components { values, has_null }) => {
            if has_null {
                let what =
                    "records have vectors with NaN or an infinity, which the server sends as null: NaN here";
                tally.add(WarningCode::RecordProblem, what, id.as_bytes());
            }
            let origin = match space {
                DistanceSpace::Cosine => Origin::HnswRounded,
                DistanceSpace::L2 | DistanceSpace::InnerProduct => Origin::Hnsw,
            };
            Vector::Present { embedding: values.into(), origin }
        }
        None => {
            let (what, reason) = if embedding_fails {
                ("records have a vector that the server fails to return", MissingReason::NotReturned)
            } else {
                ("records have no vector", MissingReason::NotStored)
            };
            tally.add(WarningCode::VectorMissing, what, id.as_bytes());
            Vector::Missing { reason }
        }
    };
    if !problems.is_empty() {
        let what = "records have values that their fields cannot represent";
        tally.add(WarningCode::RecordProblem, what, id.as_bytes());
    }
    Record { id, document, uri, metadata: user_metadata, vector, created_at: None, problems }
}

/// The metadata of a collection, which has no list of problems: values of other types are omitted.
pub(crate) fn collection_metadata(metadata: Map<String, Value>) -> Metadata {
    metadata.into_iter().filter_map(|(key, value)| Some((key, metadata_value(&value)?))).collect()
}

/// `1` is an integer and `1.0` a float, as in all servers. `None` for null, an object (a sparse vector), an integer
/// beyond 64 bits, and a nested or mixed list.
fn metadata_value(value: &Value) -> Option<MetadataValue> {
    match value {
        Value::Bool(value) => Some(MetadataValue::Bool(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Some(MetadataValue::Int(int)),
            None if number.is_f64() => number.as_f64().map(MetadataValue::Float),
            None => None,
        },
        Value::String(text) => Some(MetadataValue::Text(text.clone())),
        Value::Array(elements) => {
            let is_flat = elements.iter().all(|element| !element.is_array());
            let elements: Option<Vec<_>> = elements.iter().map(metadata_value).collect();
            let elements = elements.filter(|_| is_flat)?;
            let kinds: std::collections::HashSet<_> = elements.iter().map(std::mem::discriminant).collect();
            (kinds.len() <= 1).then_some(MetadataValue::List(elements))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(answer: &str, expected: Expect) {
        let answer = serde_json::from_str(answer).expect("an answer");
        let mut tally = Tally::default();
        let mut lines = String::new();
        for (id, parts) in rows(answer) {
            let Record { id, document, uri, metadata, vector, problems, .. } =
                record(id, parts, DistanceSpace::L2, &mut tally);
            let vector = match vector {
                Vector::Present { embedding, .. } => format!("{:?}", embedding.as_slice()),
                Vector::Missing { reason } => format!("{reason:?}"),
            };
            let problems: Vec<_> = problems
                .iter()
                .map(|p| format!("{:?} {:?} {}", p.field, p.kind, p.original.escape_ascii()))
                .collect();
            lines += &format!("{id} {document:?} {uri:?} {metadata:?} {vector} {problems:?}\n");
        }
        lines.extend(tally.into_warnings().map(|warning| format!("{}\n", warning.code)));
        expected.assert_eq(&lines);
    }

    #[test]
    fn types_and_missing_values_are_distinguished() {
        check(
            r#"{"ids":["a","b"],"embeddings":[[0.5,1],null],"documents":["",null],"uris":null,
                "metadatas":[{"i":1,"f":1.0,"big":9223372036854775807,"b":true,"s":"","l":[1.0,2.5]},null]}"#,
            expect![[r#"
                a Some("") None {"b": Bool(true), "big": Int(9223372036854775807), "f": Float(1.0), "i": Int(1), "l": List([Float(1.0), Float(2.5)]), "s": Text("")} [0.5, 1.0] []
                b None None {} NotStored []
                vector_missing
            "#]],
        );
    }

    #[test]
    fn unrepresentable_values_are_problems() {
        check(
            r#"{"ids":["a"],"embeddings":[[null,1.0]],
                "metadatas":[{"inf":null,"sparse":{"indices":[1]},"mixed":[1,"x"],"huge":9223372036854775808,"ok":1}]}"#,
            expect![[r#"
                a None None {"ok": Int(1)} [NaN, 1.0] ["Metadata(\"huge\") NotRepresentable 9223372036854775808", "Metadata(\"inf\") NotRepresentable null", "Metadata(\"mixed\") NotRepresentable [1,\\\"x\\\"]", "Metadata(\"sparse\") NotRepresentable {\\\"indices\\\":[1]}"]
                metadata_value_lost
                record_problem
                record_problem
            "#]],
        );
    }
}
