//! A service's record as submitted, stored and returned.

use std::fmt;

use records::{Embedding, Service, shortened, timestamp, without_nul};
use serde_json::{Map, Value};
use time::PrimitiveDateTime;

use super::StorageError;
use crate::{
    Problem, StoredTime,
    json::{as_all_stores_show, check_number, objects_say_the_same},
};

/// Prefix of reserved metadata keys.
pub(crate) const RESERVED_PREFIX: &str = "panopticon:";

/// Maximum characters of a user's key or value that an error repeats: it may have megabytes.
const SHOWN_CHARACTERS: usize = 100;

/// A record to store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRecord {
    /// Its id: a UUID, or any text chosen by a client or a model's provider.
    pub id: String,
    /// The prompt, or the model's output.
    pub text: String,
    /// `[384]`, of `text`.
    pub embedding: Embedding,
    /// Theme or metric type.
    pub category: String,
    /// How it was produced; only for outputs.
    pub production: Option<Production>,
    /// The user metadata.
    pub metadata: Map<String, Value>,
    /// Creation time in UTC, unless the user's `timestamp` overrides it: see [`time`](Self::time).
    pub created_at: PrimitiveDateTime,
}

/// How an output was produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Production {
    /// The model.
    pub model_id: String,
    /// The prompt that it answered.
    pub query: String,
}

/// A change of a record. `None` leaves a part unchanged; id and time never change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The new text and its embedding.
    pub text: Option<(String, Embedding)>,
    /// The new theme or metric type.
    pub category: Option<String>,
    /// The new user metadata, which replace all previous user keys.
    pub metadata: Option<Map<String, Value>>,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id, as submitted.
    pub id: String,
    /// The prompt, or the model's output.
    pub text: String,
    /// User metadata, and the service's keys: category, `timestamp`, and for outputs `model_id` and `query`.
    pub metadata: Map<String, Value>,
    /// Creation time; `None` if the store has none.
    pub created_at: Option<StoredTime>,
    /// Values that are shown differently from how they are stored.
    pub problems: Vec<Problem>,
}

impl Record {
    /// Its approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.id.len() + self.text.len() + self.metadata.iter().map(entry_bytes).sum::<usize>()
    }
}

fn entry_bytes((key, value): (&String, &Value)) -> usize {
    size_of::<String>() + key.len() + value_bytes(value)
}

fn value_bytes(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(value_bytes).sum(),
        Value::Object(object) => object.iter().map(entry_bytes).sum(),
    };
    size_of::<Value>() + inside
}

/// The outcome of inserting a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Insertion {
    /// It was stored.
    Stored(Record),
    /// The same record was already stored; this is it.
    Unchanged(Record),
    /// Another record has its id. Nothing was changed.
    Conflict,
    /// It was not stored because another record of its atomic batch could not be.
    Withheld,
}

impl NewRecord {
    /// The stored creation time: the user's `timestamp` if there is one, in microseconds.
    pub fn time(&self) -> PrimitiveDateTime {
        let given = self.metadata.get("timestamp").and_then(Value::as_str).and_then(timestamp::parse);
        timestamp::to_microseconds(given.unwrap_or(self.created_at))
    }

    /// The stored metadata, in addition to the columns: the user's keys and the service's. The user's `timestamp`
    /// stays as written.
    pub fn stored_metadata(&self, service: Service) -> Map<String, Value> {
        let mut metadata = self.metadata.clone();
        metadata.insert(service.category_key().to_owned(), Value::String(self.category.clone()));
        metadata.entry("timestamp").or_insert_with(|| Value::String(timestamp::format(self.time())));
        if let Some(production) = &self.production {
            metadata.insert("model_id".to_owned(), Value::String(production.model_id.clone()));
            metadata.insert("query".to_owned(), Value::String(production.query.clone()));
        }
        metadata
    }

    /// The record as returned after it is stored.
    pub fn to_record(&self, service: Service) -> Record {
        Record {
            id: self.id.clone(),
            text: self.text.clone(),
            metadata: as_all_stores_show(self.stored_metadata(service)),
            created_at: Some(self.time().into()),
            problems: Vec::new(),
        }
    }

    /// Whether `stored` is exactly this record after storing.
    pub(crate) fn is_stored_as(&self, service: Service, stored: &Record) -> bool {
        let Record { id, text, metadata, created_at, problems: _ } = self.to_record(service);
        id == stored.id
            && text == stored.text
            && created_at == stored.created_at
            && objects_say_the_same(&metadata, &stored.metadata)
    }

    /// Whether `stored` has the same text and metadata, regardless of its creation time.
    pub fn is_same(&self, service: Service, stored: &Record) -> bool {
        let mut metadata = self.stored_metadata(service);
        if !self.metadata.contains_key("timestamp") {
            metadata.remove("timestamp");
            metadata
                .extend(stored.metadata.get("timestamp").map(|time| ("timestamp".to_owned(), time.clone())));
        }
        self.id == stored.id && self.text == stored.text && objects_say_the_same(&metadata, &stored.metadata)
    }

    /// Checks that every store can store the record.
    ///
    /// # Errors
    /// [`StorageError::Refused`], with the field.
    pub fn check(&self, service: Service) -> Result<(), StorageError> {
        let category_key = service.category_key();
        if self.id.is_empty() {
            return Err(refused("id", "expected one character or more: ChromaDB rejects an empty id"));
        }
        check_text("id", &self.id)?;
        check_text(service.text_column(), &self.text)?;
        check_text(category_key, &self.category)?;
        let mut own = vec![(category_key, self.category.as_str())];
        if let Some(production) = &self.production {
            check_text("model_id", &production.model_id)?;
            check_text("query", &production.query)?;
            own.extend([("model_id", production.model_id.as_str()), ("query", production.query.as_str())]);
        }
        check_metadata(&self.metadata, &own)
    }
}

impl Change {
    /// The metadata of `stored` after the change.
    pub(crate) fn applied_metadata(&self, service: Service, stored: &Record) -> Map<String, Value> {
        let mut metadata = self.metadata.clone().unwrap_or_else(|| stored.metadata.clone());
        for key in kept_keys(service) {
            metadata.extend(stored.metadata.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        if let Some(category) = &self.category {
            metadata.insert(service.category_key().to_owned(), Value::String(category.clone()));
        }
        metadata
    }

    /// Checks that every store can store `stored` after the change.
    ///
    /// # Errors
    /// [`StorageError::Refused`], with the field.
    pub fn check(&self, service: Service, stored: &Record) -> Result<(), StorageError> {
        if let Some((text, _)) = &self.text {
            check_text(service.text_column(), text)?;
        }
        if let Some(category) = &self.category {
            check_text(service.category_key(), category)?;
        }
        let Some(metadata) = &self.metadata else { return Ok(()) };
        let applied = self.applied_metadata(service, stored);
        let own: Vec<(&str, &str)> =
            kept_keys(service).filter_map(|key| Some((key, applied.get(key)?.as_str()?))).collect();
        check_metadata(metadata, &own)
    }
}

/// Adds the service's metadata to the user's.
pub(crate) fn kept_keys(service: Service) -> impl Iterator<Item = &'static str> {
    service.own_keys().iter().map(|key| key.name).chain(["timestamp"])
}

/// `own` are the service's keys with their values: a user's key may only repeat the same value.
fn check_metadata(metadata: &Map<String, Value>, own: &[(&str, &str)]) -> Result<(), StorageError> {
    for (key, value) in metadata {
        let field = || format!("metadata.{}", without_nul(&shortened(key, SHOWN_CHARACTERS)));
        if let Some(reason) = reason_against(key) {
            return Err(refused(field(), reason));
        }
        if key.starts_with(RESERVED_PREFIX) {
            return Err(refused(
                field(),
                format!("keys that begin with `{RESERVED_PREFIX}` are reserved: use another name"),
            ));
        }
        if let Some((_, expected)) = own.iter().find(|(own_key, _)| own_key == key) {
            if value.as_str() == Some(expected) {
                continue;
            }
            return Err(refused(
                field(),
                format!("expected the record's own `{key}` or nothing, found {}", shown(value)),
            ));
        }
        if key == "timestamp" && value.as_str().is_none_or(|time| timestamp::parse(time).is_none()) {
            let expected = "expected a time like 2026-01-31T12:00:00.000000";
            return Err(refused(field(), format!("{expected}, found {}", shown(value))));
        }
        check_value(value).map_err(|fault| refused(format!("{}{}", field(), fault.place), fault.reason))?;
    }
    Ok(())
}

/// The problem inside a value. The path is built on the way back: on the way in, a key would be copied for each value
/// below it.
struct Fault {
    place: String,
    reason: String,
}

impl Fault {
    fn at(self, step: impl fmt::Display) -> Self {
        Self { place: format!("{step}{}", self.place), ..self }
    }
}

/// Depth is bounded by the JSON parser.
fn check_value(value: &Value) -> Result<(), Fault> {
    let fault = |reason| Fault { place: String::new(), reason };
    match value {
        Value::String(text) => reason_against(text).map_or(Ok(()), |reason| Err(fault(reason))),
        Value::Number(number) => check_number(number).map_err(|unkept| fault(unkept.reason().to_owned())),
        Value::Array(values) => values.iter().enumerate().try_for_each(|(position, value)| {
            check_value(value).map_err(|fault| fault.at(format_args!("[{position}]")))
        }),
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            let checked = reason_against(key).map_or_else(|| check_value(value), |reason| Err(fault(reason)));
            checked.map_err(|fault| {
                fault.at(format_args!(".{}", without_nul(&shortened(key, SHOWN_CHARACTERS))))
            })
        }),
        Value::Bool(_) | Value::Null => Ok(()),
    }
}

/// The one character that PostgreSQL cannot store.
pub(crate) fn check_text(field: &str, text: &str) -> Result<(), StorageError> {
    match reason_against(text) {
        Some(reason) => Err(refused(field, reason)),
        None => Ok(()),
    }
}

fn reason_against(text: &str) -> Option<String> {
    let position = text.find('\0')?;
    Some(format!("contains the character NUL at byte {position}, which cannot be stored: remove it"))
}

/// A value, truncated for an error.
fn shown(value: &Value) -> String {
    shortened(&value.to_string(), SHOWN_CHARACTERS).into_owned()
}

fn refused(field: impl Into<String>, reason: impl Into<String>) -> StorageError {
    StorageError::Refused { field: field.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn record(metadata: Value) -> NewRecord {
        let Value::Object(metadata) = metadata else { panic!("metadata are an object") };
        NewRecord {
            id: "a".into(),
            text: "Why?".into(),
            embedding: vec![1.0].into(),
            category: "physics".into(),
            production: None,
            metadata,
            created_at: datetime!(2026-01-31 12:00),
        }
    }

    #[test]
    fn values_that_no_store_can_hold_are_rejected_with_their_field() {
        let check = |metadata: Value, expected: Expect| {
            let refusal = record(metadata).check(Service::Query).map_err(|error| error.to_string());
            expected.assert_eq(&refusal.err().unwrap_or("accepted".into()));
        };
        check(json!({"theme": "physics", "n": 1, "deep": {"a": [null, {"b": 1.5}]}}), expect!["accepted"]);
        check(
            json!({"theme": "biology"}),
            expect!["`metadata.theme`: expected the record's own `theme` or nothing, found \"biology\""],
        );
        check(json!({"timestamp": "2025-01-11 10:20:30"}), expect!["accepted"]);
        check(
            json!({"timestamp": "yesterday"}),
            expect![
                "`metadata.timestamp`: expected a time like 2026-01-31T12:00:00.000000, found \"yesterday\""
            ],
        );
        check(
            json!({"a": {"b": ["x", "y\u{0}"]}}),
            expect![
                "`metadata.a.b[1]`: contains the character NUL at byte 1, which cannot be stored: remove it"
            ],
        );
        check(
            json!({"a": -0.0}),
            expect!["`metadata.a`: -0.0 cannot be distinguished from 0.0 in PostgreSQL: write 0.0"],
        );
        check(
            json!({"panopticon:json": "x"}),
            expect![
                "`metadata.panopticon:json`: keys that begin with `panopticon:` are reserved: use another name"
            ],
        );
    }

    #[test]
    fn path_of_a_problem_is_built_once_and_truncated() {
        let key = "k".repeat(100_000);
        let long = vec![json!(1); 200_000];
        // This would take minutes if the key were copied for each value.
        record(json!({key.clone(): {key.clone(): long.clone()}})).check(Service::Query).expect("it is sound");
        let mut faulty = long;
        faulty.push(json!({format!("{key}\0"): "x"}));
        let error = record(json!({key: faulty})).check(Service::Query).expect_err("it has a NUL");
        let error = error.to_string();
        assert!(error.contains("[200000].kkk") && error.len() < 500, "{error}");
        let error = record(json!({"timestamp": "x".repeat(100_000)})).check(Service::Query);
        assert!(error.expect_err("it is no time").to_string().len() < 500);
    }

    #[test]
    fn records_are_equal_regardless_of_their_time() {
        let stored = record(json!({"n": 1})).to_record(Service::Query);
        let mut later = record(json!({"n": 1}));
        later.created_at = datetime!(2026-02-01 12:00);
        assert!(later.is_same(Service::Query, &stored));
        assert!(!record(json!({"n": 1.0})).is_same(Service::Query, &stored));
        let timed = record(json!({"n": 1, "timestamp": "2026-01-31T12:00:00"}));
        assert!(!timed.is_same(Service::Query, &stored));
    }

    #[test]
    fn time_is_the_users_timestamp_in_microseconds() {
        let mut new = record(json!({}));
        new.created_at = datetime!(2026-01-31 12:00:00.000001999);
        assert_eq!(
            new.to_record(Service::Query).created_at,
            Some(datetime!(2026-01-31 12:00:00.000001).into())
        );
        new.metadata = record(json!({"timestamp": "2025-01-11 10:20:30.5"})).metadata;
        assert_eq!(new.to_record(Service::Query).created_at, Some(datetime!(2025-01-11 10:20:30.5).into()));
    }

    #[test]
    fn empty_id_is_rejected() {
        let new = NewRecord { id: String::new(), ..record(json!({})) };
        let error = new.check(Service::Query).expect_err("ChromaDB takes none");
        assert!(error.to_string().starts_with("`id`"), "{error}");
    }

    #[test]
    fn change_of_metadata_keeps_service_keys() {
        let stored = record(json!({"n": 1})).to_record(Service::Query);
        let change = Change { metadata: record(json!({"m": 2})).metadata.into(), ..Change::default() };
        let changed = change.applied_metadata(Service::Query, &stored);
        assert_eq!(
            Value::Object(changed),
            json!({"m": 2, "theme": "physics", "timestamp": "2026-01-31T12:00:00.000000"})
        );
    }
}
