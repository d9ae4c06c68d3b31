//! Conversion between stored and returned records.

use records::{Service, stored_id, timestamp};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::{
    StoredTime,
    chroma::{
        record::Parts,
        wire::{Column, Components},
    },
    json::{as_all_stores_show, is_same},
    storage::{Record, folding},
};

/// The requested parts of a record; the others are empty.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) text: String,
    /// As returned to callers.
    pub(super) metadata: Map<String, Value>,
    /// The keys stored on the server.
    pub(super) kept_keys: Vec<String>,
    pub(super) created_at: Option<StoredTime>,
    /// `[384]`; `None` if the server has none, or it is not finite.
    pub(super) embedding: Option<Vec<f32>>,
}

/// A record's sort key in lists: the greatest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortKey {
    pub(super) created_at: Option<StoredTime>,
    pub(super) key: Uuid,
}

impl Row {
    /// The row of the `parts` returned by a server.
    pub(super) fn new(service: Service, id: String, parts: Parts) -> Self {
        // A record without metadata has an empty map.
        let kept = parts.metadata.unwrap_or_default();
        let kept_keys = kept.keys().cloned().collect();
        let mut metadata = as_all_stores_show(folding::unfold(kept));
        for key in service.own_keys() {
            metadata.entry(key.name).or_insert_with(|| Value::String(key.default.to_owned()));
        }
        let created_at = metadata
            .get("timestamp")
            .and_then(Value::as_str)
            .and_then(timestamp::parse)
            .map(StoredTime::from);
        let embedding = parts
            .embedding
            .filter(|components| components.values.iter().all(|x| x.is_finite()))
            .map(|Components { values, .. }| values);
        // A record without a text is returned with an empty one, since the contract's column is not null.
        let text = parts.document.unwrap_or_default();
        Self { id, text, metadata, kept_keys, created_at, embedding }
    }

    pub(super) fn place(&self) -> SortKey {
        SortKey { created_at: self.created_at, key: stored_id(&self.id) }
    }

    pub(super) fn into_record(self) -> Record {
        let Self { id, text, metadata, created_at, .. } = self;
        Record { id, text, metadata, created_at, problems: Vec::new() }
    }
}

/// The text in PostgreSQL's column of the key, if the service's table has one; else the value itself, if it is a
/// text.
pub(super) fn column_text(service: Service, key: &str, metadata: &Map<String, Value>) -> Option<String> {
    match metadata.get(key)? {
        Value::String(text) => Some(text.clone()),
        other => service.own_key(key).map(|_column| other.to_string()),
    }
}

/// The metadata to send to a server for `metadata`. All servers since 0.4.15 store the same values, except for lists,
/// which came with 1.5. They drop, reject or change the others: null, objects, whole numbers beyond 64 bits, some
/// fractions (see [`is_read_exactly`]), lists that are empty or of several types, the empty key, and keys that begin
/// with `#`, `$` or `chroma:`.
pub(super) fn kept_metadata(metadata: Map<String, Value>, lists: Lists) -> Map<String, Value> {
    folding::fold(metadata, |key, value| {
        let is_free_key = !key.is_empty() && !["#", "$", "chroma:"].iter().any(|own| key.starts_with(own));
        is_free_key
            && match value {
                Value::Array(values) => lists == Lists::Reservation && is_uniform(values),
                value => Kind::of(value).is_some(),
            }
    })
}

/// Whether a server's metadata may be lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lists {
    /// Since 1.5.
    Reservation,
    /// Before.
    Refused,
}

/// The scalar types that servers distinguish.
#[derive(PartialEq)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Bool),
            Value::Number(number) if number.is_i64() => Some(Self::Int),
            Value::Number(number) => (number.is_f64() && is_read_exactly(number)).then_some(Self::Float),
            Value::String(_) => Some(Self::Text),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Whether Chroma 1.x parses a fraction exactly. Its parser, serde_json without `float_roundtrip` (`f64_from_parts`
/// in its de.rs), scales the digits by a power of ten, which rounds a second time: one in seven numbers with 16 or 17
/// digits becomes an adjacent double. This is the same calculation.
fn is_read_exactly(number: &Number) -> bool {
    let text = number.as_str();
    let digits = text.trim_start_matches('-');
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    let places = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let significand = mantissa.replace('.', "").parse::<u64>();
    let exponent = exponent.parse::<i32>();
    let (Ok(significand), Ok(exponent), Ok(places)) = (significand, exponent, i32::try_from(places)) else {
        return false;
    };
    let power = |exponent: i32| format!("1e{exponent}").parse::<f64>().expect("it is a number");
    let (mut read, mut exponent) = (significand as f64, exponent - places);
    while exponent < -308 {
        read /= power(308);
        exponent += 308;
    }
    read = if exponent < 0 { read / power(-exponent) } else { read * power(exponent) };
    // Numbers with more digits than a double are folded.
    number.as_f64().is_some_and(|double| {
        double.abs() == read && Number::from_f64(double).is_some_and(|double| is_same(&double, number))
    })
}

fn is_uniform(values: &[Value]) -> bool {
    let mut kinds = values.iter().map(Kind::of);
    kinds.next().flatten().is_some_and(|first| kinds.all(|kind| kind.as_ref() == Some(&first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_that_chroma_would_change_are_detected() {
        let check = |number: f64, expected| {
            let number = Number::from_f64(number).expect("it is finite");
            assert_eq!(is_read_exactly(&number), expected, "{number}");
        };
        for kept in [0.0, 0.5, -1.5, 0.1, 1e16, 1e22, 5e-324, f64::MAX] {
            check(kept, true);
        }
        // Observed with Chroma 1.5.9.
        for changed in [3.494_239_632_500_895e78, 123_456_789.123_456_79, 8_575_978_677_307_705.0] {
            check(changed, false);
        }
    }
}

/// The requested parts of records, in addition to their ids.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Columns {
    pub(super) metadatas: bool,
    pub(super) documents: bool,
    pub(super) embeddings: bool,
}

impl Columns {
    /// The parts returned to callers.
    pub(super) const SHOWN: Self = Self { metadatas: true, documents: true, embeddings: false };

    pub(super) fn list(self) -> Vec<Column> {
        let columns = [
            (self.metadatas, Column::Metadatas),
            (self.documents, Column::Documents),
            (self.embeddings, Column::Embeddings),
        ];
        columns.into_iter().filter_map(|(wanted, column)| wanted.then_some(column)).collect()
    }
}
