//! The storage of a service in PostgreSQL.

mod filters;
mod isolation;
mod keeping;
mod listing;
mod migrated;
mod patterns;
mod plans;
mod results;
mod searches;
mod surroundings;

use records::{Service, timestamp};
use serde_json::{Map, Value};
use store::{
    postgres::{Database, PostgresStorage},
    storage::{Atomicity, Filter, Insertion, NewRecord, Production, Record, Selection, Start, Storage as _},
};
use test_support::TestDatabase;
use time::{Duration, PrimitiveDateTime, macros::datetime};

use crate::{at_angle, prepared};

const NOON: PrimitiveDateTime = datetime!(2026-01-31 12:00);

/// An empty storage in a database of its own.
async fn storage(service: Service) -> (TestDatabase, Database, PostgresStorage) {
    let (test_database, database) = prepared().await;
    let storage = PostgresStorage::new(database.clone(), service);
    (test_database, database, storage)
}

/// A record with the number's text, angle and minute.
pub(crate) fn new_record(service: Service, id: &str, number: u16) -> NewRecord {
    let made = Production { model_id: "gpt-4".into(), query: format!("query {number}") };
    NewRecord {
        id: id.to_owned(),
        text: format!("text {number}"),
        embedding: at_angle(f32::from(number) / 100.0).into(),
        category: if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
        production: (service == Service::Judge).then_some(made),
        metadata: object(serde_json::json!({"n": number})),
        created_at: NOON + Duration::minutes(number.into()),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("expected an object, found {other}"),
    }
}

/// Stores all of `records`, none of which is there.
async fn store(storage: &PostgresStorage, records: &[NewRecord]) -> Vec<Record> {
    let insertions = storage.insert(records, Atomicity::AllOrNothing).await.expect("the records are stored");
    let stored = |insertion| match insertion {
        Insertion::Stored(record) => record,
        other => panic!("expected a stored record, found {other:?}"),
    };
    insertions.into_iter().map(stored).collect()
}

/// Records `0` to `count - 1`, whose ids are their numbers.
async fn store_numbered(storage: &PostgresStorage, count: u16) -> Vec<Record> {
    let service = storage.service();
    let records: Vec<NewRecord> = (0..count).map(|n| new_record(service, &n.to_string(), n)).collect();
    store(storage, &records).await
}

/// The ids of all selected records, newest first.
async fn ids(storage: &PostgresStorage, selection: &Selection) -> Vec<String> {
    let listed = storage.list(selection, Start::Offset(0), 100).await.expect("the list reads");
    assert_eq!(storage.count(selection).await.expect("they are counted"), listed.len() as u64);
    listed.into_iter().map(|record| record.id).collect()
}

fn filtered(filter: Value) -> Selection {
    let filter = Filter::from_json(&filter).expect("it is a filter");
    Selection { filter: Some(filter), ..Selection::default() }
}

fn in_category(category: &str) -> Selection {
    Selection { category: Some(category.to_owned()), ..Selection::default() }
}

fn shown_time(time: PrimitiveDateTime) -> Value {
    Value::String(timestamp::format(time))
}
