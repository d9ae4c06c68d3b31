//! Conditions mean what ChromaDB 1.5 means by them.

use records::Service;
use serde_json::{Value, json};
use sqlx::types::time::PrimitiveDateTime;
use store::{
    postgres::PostgresStorage,
    storage::{DocumentFilter, NewRecord, Selection, Storage as _},
};
use time::Duration;

use super::{NOON, filtered, ids, in_category, new_record, object, storage, store};

/// One value a record, under the key `k`; the record's id is its JSON.
fn values() -> Vec<Value> {
    let numbers = [json!(0), json!(1), json!(1.0), json!(1.5), json!(-2), json!(1e16), json!(i64::MAX)];
    let others = [json!(true), json!(false), json!("1"), json!(""), json!("b"), json!("%\\_"), json!(null)];
    let lists = [
        json!([1, 2.0]),
        json!([1.0]),
        json!(["b"]),
        json!([true]),
        json!([]),
        json!([["b"]]),
        json!({"b": 1}),
        json!([{"k": 1}]),
    ];
    numbers.into_iter().chain(others).chain(lists).collect()
}

async fn storage_of_values(service: Service) -> (test_support::TestDatabase, PostgresStorage) {
    let (test_database, _, storage) = storage(service).await;
    let record = |(number, value): (u16, Value)| {
        let id = value.to_string();
        NewRecord { metadata: object(json!({"k": value})), ..new_record(service, &id, number) }
    };
    let mut records: Vec<NewRecord> = (0..).zip(values()).map(record).collect();
    records.push(NewRecord { metadata: object(json!({})), ..new_record(service, "missing", 99) });
    store(&storage, &records).await;
    (test_database, storage)
}

/// The ids of the records whose `k` passes `test`, sorted.
async fn passing(storage: &PostgresStorage, test: Value) -> Vec<String> {
    let mut found = ids(storage, &filtered(json!({"k": test}))).await;
    found.sort_unstable();
    found
}

#[tokio::test]
async fn values_of_one_type_compare_and_those_of_others_never_match() {
    let (_test_database, storage) = storage_of_values(Service::Query).await;
    let storage = &storage;
    let check = async |test: Value, expected: &[&str]| {
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).to_owned()).collect();
        expected.sort_unstable();
        assert_eq!(passing(storage, test.clone()).await, expected, "{test}");
    };
    check(json!(1), &["1", "1.0"]).await;
    check(json!({"$eq": 1.0}), &["1", "1.0"]).await;
    check(json!(1e16), &["1e+16"]).await;
    check(json!(10_000_000_000_000_000_i64), &["1e+16"]).await;
    check(json!(i64::MAX), &["9223372036854775807"]).await;
    check(json!(true), &["true"]).await;
    check(json!("1"), &["\"1\""]).await;
    check(json!(""), &["\"\""]).await;
    check(json!("%\\_"), &["\"%\\\\_\""]).await;
    check(json!({"$gt": 1}), &["1.5", "1e+16", "9223372036854775807"]).await;
    check(json!({"$gte": 1}), &["1", "1.0", "1.5", "1e+16", "9223372036854775807"]).await;
    check(json!({"$lt": 1}), &["0", "-2"]).await;
    check(json!({"$lte": 0.5}), &["0", "-2"]).await;
    check(json!({"$in": [0, 1.5, 7]}), &["0", "1.5"]).await;
    check(json!({"$in": ["b", "1"]}), &["\"b\"", "\"1\""]).await;
    check(json!({"$in": [false]}), &["false"]).await;
    check(json!({"$contains": 1}), &["[1,2.0]", "[1.0]"]).await;
    check(json!({"$contains": 2}), &["[1,2.0]"]).await;
    check(json!({"$contains": "b"}), &["[\"b\"]"]).await;
    check(json!({"$contains": true}), &["[true]"]).await;
    check(json!({"$contains": false}), &[]).await;
}

#[tokio::test]
async fn negations_match_whatever_their_opposite_does_not() {
    for service in [Service::Query, Service::Judge] {
        let (_test_database, storage) = storage_of_values(service).await;
        let all = ids(&storage, &Selection::default()).await.len();
        for (test, opposite) in [
            (json!({"$eq": 1}), json!({"$ne": 1})),
            (json!({"$eq": "b"}), json!({"$ne": "b"})),
            (json!({"$in": [1, 0]}), json!({"$nin": [1, 0]})),
            (json!({"$contains": "b"}), json!({"$not_contains": "b"})),
        ] {
            let found = passing(&storage, test.clone()).await;
            let others = passing(&storage, opposite).await;
            assert!(!found.is_empty() && found.iter().all(|id| !others.contains(id)), "{test}: {found:?}");
            assert_eq!(found.len() + others.len(), all, "{test}");
            assert!(others.contains(&"missing".to_owned()) && others.contains(&"null".to_owned()), "{test}");
        }
    }
}

#[tokio::test]
async fn conditions_combine() {
    let (_test_database, storage) = storage_of_values(Service::Query).await;
    let either = json!({"$or": [{"k": true}, {"$and": [{"k": {"$gt": 0}}, {"k": {"$lt": 1.5}}]}]});
    assert_eq!(ids(&storage, &filtered(either)).await, ["true", "1.0", "1"]);
    let neither =
        json!({"$and": [{"k": {"$ne": "b"}}, {"k": {"$gt": 0}}, {"absent": {"$nin": [1]}}, {"k": 1.5}]});
    assert_eq!(ids(&storage, &filtered(neither)).await, ["1.5"]);
}

#[tokio::test]
async fn service_s_own_keys_are_tested_like_others() {
    let (_test_database, _, storage) = storage(Service::Judge).await;
    store(&storage, &[new_record(Service::Judge, "a", 1), new_record(Service::Judge, "b", 2)]).await;
    for (filter, expected) in [
        (json!({"theme": "odd"}), vec!["a"]),
        (json!({"theme": {"$ne": "odd"}}), vec!["b"]),
        (json!({"theme": {"$in": ["even", "odd"]}}), vec!["b", "a"]),
        (json!({"theme": {"$nin": ["even"]}}), vec!["a"]),
        (json!({"theme": 1}), vec![]),
        (json!({"model_id": "gpt-4"}), vec!["b", "a"]),
        (json!({"query": "query 2"}), vec!["b"]),
        (json!({"timestamp": "2026-01-31T12:01:00.000000"}), vec!["a"]),
        (json!({"timestamp": {"$in": ["2026-01-31T12:02:00.000000"]}}), vec!["b"]),
        (json!({"theme": {"$contains": "odd"}}), vec![]),
    ] {
        assert_eq!(ids(&storage, &filtered(filter.clone())).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn long_and_odd_values_are_found() {
    let (_test_database, database, storage) = storage(Service::Judge).await;
    database.ensure_service_indexes(Service::Judge).await.expect("the indexes are built");
    let long = "long theme \u{1F600} ".repeat(300);
    let mut odd = new_record(Service::Judge, "odd", 1);
    odd.category = long.clone();
    odd.production.as_mut().expect("an output is made by someone").model_id = long.clone();
    odd.metadata = object(json!({long.clone(): long.clone(), "'; --": "\"'\\$1"}));
    let mut longer = NewRecord { id: "longer".into(), ..odd.clone() };
    longer.category.push('x');
    store(&storage, &[odd, longer, new_record(Service::Judge, "other", 2)]).await;
    assert_eq!(ids(&storage, &in_category(&long)).await, ["odd"]);
    let of_model = Selection { model_id: Some(long.clone()), ..Selection::default() };
    assert_eq!(ids(&storage, &of_model).await.len(), 2);
    assert_eq!(ids(&storage, &filtered(json!({long.clone(): long}))).await.len(), 2);
    assert_eq!(ids(&storage, &filtered(json!({"'; --": "\"'\\$1"}))).await.len(), 2);
    assert_eq!(ids(&storage, &in_category("nul\0")).await, Vec::<String>::new());
}

#[tokio::test]
async fn model_of_other_services_is_the_metadata_s() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let mut made = new_record(Service::Query, "made", 1);
    made.metadata = object(json!({"model_id": "gpt-4"}));
    store(&storage, &[made, new_record(Service::Query, "other", 2)]).await;
    let of_model = Selection { model_id: Some("gpt-4".into()), ..Selection::default() };
    assert_eq!(ids(&storage, &of_model).await, ["made"]);
}

fn document(filter: Value) -> Selection {
    let document = DocumentFilter::from_json(&filter).expect("it is a filter");
    Selection { document: Some(document), ..Selection::default() }
}

#[tokio::test]
async fn texts_are_searched_by_code_points() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let texts = ["50% of a_b\\c", "50 percent", "É", "e\u{301}", "line\nbreak", "ÄÖ \u{1F600}"];
    let records: Vec<NewRecord> = (0..)
        .zip(texts)
        .map(|(n, text)| NewRecord { text: text.into(), ..new_record(Service::Query, text, n) })
        .collect();
    store(&storage, &records).await;
    for (filter, expected) in [
        (json!({"$contains": "50%"}), vec![0]),
        (json!({"$contains": "a_b\\"}), vec![0]),
        (json!({"$contains": "é"}), vec![]),
        (json!({"$contains": "É"}), vec![2]),
        (json!({"$contains": "e"}), vec![4, 3, 1]),
        (json!({"$contains": "\u{1F600}"}), vec![5]),
        (json!({"$not_contains": "5"}), vec![5, 4, 3, 2]),
        (json!({"$regex": "^line.break"}), vec![]),
        (json!({"$regex": "(?s)^LINE.|\\x{1F600}$"}), vec![5]),
        (json!({"$regex": "(?i)^äö\\b"}), vec![5]),
        (json!({"$not_regex": "\\d|\\n"}), vec![5, 3, 2]),
        (json!({"$and": [{"$contains": "50"}, {"$not_contains": "%"}]}), vec![1]),
        (json!({"$or": [{"$contains": "É"}, {"$regex": "break$"}]}), vec![4, 2]),
    ] {
        let expected: Vec<&str> = expected.into_iter().map(|text: usize| texts[text]).collect();
        assert_eq!(ids(&storage, &document(filter.clone())).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn times_are_a_half_open_range() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    super::store_numbered(&storage, 4).await;
    let minute = |minutes| Some::<PrimitiveDateTime>(NOON + Duration::minutes(minutes));
    let range = |from, before| Selection { from, before, ..Selection::default() };
    assert_eq!(ids(&storage, &range(minute(1), minute(3))).await, ["2", "1"]);
    assert_eq!(ids(&storage, &range(minute(3), None)).await, ["3"]);
    assert_eq!(ids(&storage, &range(None, minute(0))).await, Vec::<String>::new());
    assert_eq!(storage.count(&range(None, None)).await.expect("they are counted"), 4);
}

#[tokio::test]
async fn lists_of_many_values_match_as_short_ones_do() {
    let (_test_database, storage) = storage_of_values(Service::Judge).await;
    for scalar in
        values().into_iter().filter(|value| value.is_number() || value.is_string() || value.is_boolean())
    {
        // Values of one list have one type.
        let others = (0..100).map(|number| match &scalar {
            Value::Number(_) => json!(1000 + number),
            Value::Bool(_) => scalar.clone(),
            _ => json!(format!("other {number}")),
        });
        let many: Vec<Value> = others.chain([scalar.clone()]).collect();
        for test in ["$in", "$nin"] {
            let short = passing(&storage, json!({test: [scalar]})).await;
            assert_eq!(passing(&storage, json!({test: many})).await, short, "{test} {scalar}");
        }
    }
    // The service's columns are shown as metadata.
    for (key, value) in [("theme", "even"), ("model_id", "gpt-4"), ("query", "query 2")] {
        let many: Vec<String> =
            (0..100).map(|number| format!("other {number}")).chain([value.to_owned()]).collect();
        for test in ["$in", "$nin"] {
            let short = ids(&storage, &filtered(json!({key: {test: [value]}}))).await;
            assert_eq!(ids(&storage, &filtered(json!({key: {test: many}}))).await, short, "{test} {key}");
        }
    }
}
