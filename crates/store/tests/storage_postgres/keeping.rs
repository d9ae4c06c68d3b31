//! Storing, reading, changing and deleting records.

use records::{Service, stored_id};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use store::{
    postgres::PostgresStorage,
    storage::{Atomicity, Change, Insertion, NewRecord, Record, Selection, Storage as _, StorageError},
};
use time::macros::datetime;

use super::{NOON, ids, in_category, new_record, object, shown_time, storage, store, store_numbered};
use crate::at_angle;

#[tokio::test]
async fn stored_records_are_read_back_as_they_were_given() {
    for service in Service::ALL {
        let (_test_database, _, storage) = storage(service).await;
        let spelt_out = |number: &str| serde_json::from_str::<Value>(number).expect("a number");
        let metadata = json!({
            "whole": 1, "float": 1.0, "huge": spelt_out("10000000000000000.0"), "tiny": spelt_out("0.0000001"), "big": u64::MAX, "flag": true, "nothing": null,
            "list": [1, 2.0, "three"], "deep": {"b": [{"c": 0.1}], "a": ""}, "é\"\\": "line\nbreak \u{1F600}",
        });
        let mut given = new_record(service, "chatcmpl-1", 1);
        given.metadata = object(metadata.clone());
        given.created_at = datetime!(2026-01-31 12:00:00.123456789);
        let stored = store(&storage, &[given.clone()]).await.remove(0);
        assert_eq!(stored.created_at, Some(datetime!(2026-01-31 12:00:00.123456).into()));
        let read = storage.get(&["chatcmpl-1".to_owned()]).await.expect("it reads");
        assert_eq!(read, std::slice::from_ref(&stored));
        let Value::Object(mut expected) = metadata else { unreachable!("it is an object") };
        let category = if service == Service::Evaluation { "metric_type" } else { "theme" };
        expected.insert(category.to_owned(), json!("odd"));
        expected.insert("timestamp".to_owned(), json!("2026-01-31T12:00:00.123456"));
        if service == Service::Judge {
            expected.extend(object(json!({"model_id": "gpt-4", "query": "query 1"})));
        }
        assert_eq!(stored.metadata, expected);
        assert_eq!(read[0].metadata["huge"].as_f64().map(|_| read[0].metadata["huge"].is_f64()), Some(true));
        let again = storage.insert(&[given], Atomicity::AllOrNothing).await.expect("it is there");
        assert_eq!(again, [Insertion::Unchanged(stored)]);
    }
}

#[tokio::test]
async fn stored_row_has_the_columns_of_a_migrated_one() {
    let (test_database, _, storage) = storage(Service::Judge).await;
    store(&storage, &[new_record(Service::Judge, "msg_1", 1), new_record(Service::Judge, CANONICAL, 2)])
        .await;
    let rows = sqlx::query("select source_id, theme, model_id, query, metadata::text, vector_dims(embedding) as dimension, uri, migration_run from llm_outputs order by created_at")
        .fetch_all(&mut test_database.connection().await)
        .await
        .expect("the rows read");
    assert_eq!(rows[0].get::<Option<&str>, _>("source_id"), Some("msg_1"));
    assert_eq!(rows[1].get::<Option<&str>, _>("source_id"), None, "the primary key says it");
    assert_eq!(rows[0].get::<&str, _>("theme"), "odd");
    assert_eq!(rows[0].get::<&str, _>("model_id"), "gpt-4");
    assert_eq!(rows[0].get::<&str, _>("query"), "query 1");
    assert_eq!(rows[0].get::<i32, _>("dimension"), 384);
    assert_eq!(
        rows[0].get::<&str, _>("metadata"),
        r#"{"n": 1, "query": "query 1", "theme": "odd", "model_id": "gpt-4", "timestamp": "2026-01-31T12:01:00.000000"}"#
    );
}

const CANONICAL: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

#[tokio::test]
async fn id_names_a_record_only_as_it_is_shown() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let long = "é".repeat(3_000);
    let upper = CANONICAL.to_uppercase();
    let odd = ["", " ", "it's; drop table queries --", "\u{1F600}/?#%00", "a\u{301}", "á"];
    let mut given = vec![long.as_str(), upper.as_str(), CANONICAL];
    given.extend(odd);
    let records: Vec<NewRecord> =
        (0..).zip(&given).map(|(n, id)| new_record(Service::Query, id, n)).collect();
    let stored = store(&storage, &records).await;
    let asked: Vec<String> = given.iter().rev().map(|id| (*id).to_owned()).collect();
    let read = storage.get(&asked).await.expect("they read");
    assert_eq!(
        read,
        stored.into_iter().rev().collect::<Vec<_>>(),
        "in the order in which they are asked for"
    );

    let shadow = stored_id(&long).to_string();
    let absent = [shadow.clone(), "nobody".to_owned(), "nul\0".to_owned()];
    assert_eq!(storage.get(&absent).await.expect("they read"), []);
    assert_eq!(storage.delete(&absent).await.expect("nothing is there"), Vec::<String>::new());
    assert_eq!(storage.update(&shadow, &Change::default()).await.expect("nothing is there"), None);
    let taken = storage.insert(&[new_record(Service::Query, &shadow, 0)], Atomicity::Each).await;
    assert_eq!(taken.expect("it answers"), [Insertion::Conflict], "its key is another record's");

    let both = [CANONICAL.to_owned(), "nobody".to_owned(), long.clone(), CANONICAL.to_owned()];
    assert_eq!(storage.delete(&both).await.expect("they are there"), [CANONICAL.to_owned(), long.clone()]);
    assert_eq!(storage.get(&both).await.expect("they are gone"), []);
    assert_eq!(ids(&storage, &Selection::default()).await.len(), given.len() - 2);
}

#[tokio::test]
async fn batch_with_a_conflict_is_stored_atomically_or_without_it() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let service = Service::Query;
    let there = store(&storage, &[new_record(service, "a", 1)]).await.remove(0);
    let repeated = new_record(service, "c", 3);
    let batch = [
        new_record(service, "b", 2),
        new_record(service, "a", 9),
        new_record(service, "a", 1),
        repeated.clone(),
        repeated.clone(),
        new_record(service, "c", 4),
    ];
    let withheld = storage.insert(&batch, Atomicity::AllOrNothing).await.expect("it answers");
    let expected = [
        Insertion::Withheld,
        Insertion::Conflict,
        Insertion::Unchanged(there.clone()),
        Insertion::Withheld,
        Insertion::Withheld,
        Insertion::Conflict,
    ];
    assert_eq!(withheld, expected);
    assert_eq!(ids(&storage, &Selection::default()).await, ["a"]);

    let each = storage.insert(&batch, Atomicity::Each).await.expect("it answers");
    let shown = repeated.to_record(service);
    let expected = [
        Insertion::Stored(batch[0].to_record(service)),
        Insertion::Conflict,
        Insertion::Unchanged(there.clone()),
        Insertion::Stored(shown.clone()),
        Insertion::Unchanged(shown),
        Insertion::Conflict,
    ];
    assert_eq!(each, expected);
    assert_eq!(ids(&storage, &Selection::default()).await, ["c", "b", "a"]);
    assert_eq!(storage.get(&["a".to_owned()]).await.expect("it reads"), [there], "it stays as it was");
    assert_eq!(storage.insert(&[], Atomicity::Each).await.expect("nothing to do"), []);
}

#[tokio::test]
async fn embedding_of_another_dimension_is_rejected() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let short = NewRecord { embedding: vec![1.0; 383].into(), ..new_record(Service::Query, "a", 1) };
    let error = storage.insert(&[short], Atomicity::Each).await.expect_err("it does not fit");
    assert!(matches!(&error, StorageError::Refused { field, .. } if field == "embedding"), "{error}");
}

#[tokio::test]
async fn thousand_records_are_stored_in_one_batch() {
    let (_test_database, _, storage) = storage(Service::Judge).await;
    let stored = store_numbered(&storage, 1_000).await;
    let asked: Vec<String> = stored.iter().map(|record| record.id.clone()).collect();
    assert_eq!(storage.get(&asked).await.expect("they read"), stored);
    assert_eq!(storage.delete(&asked).await.expect("they are deleted"), asked);
    assert_eq!(storage.count(&Selection::default()).await.expect("none is left"), 0);
}

#[tokio::test]
async fn one_of_many_writers_of_an_id_wins() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let storage = &storage;
    let batch = |writer: u16| async move {
        let shared = ["x", "y", "z"].map(|id| new_record(Service::Query, id, writer));
        storage.insert(&shared, Atomicity::AllOrNothing).await.expect("no writer fails")
    };
    let answers = futures_util::future::join_all((0..16).map(batch)).await;
    let is_stored = |insertion: &Insertion| matches!(insertion, Insertion::Stored(_));
    assert_eq!(answers.iter().filter(|answer| answer.iter().all(is_stored)).count(), 1, "{answers:?}");
    let is_conflict = |insertion: &Insertion| *insertion == Insertion::Conflict;
    assert_eq!(answers.iter().filter(|answer| answer.iter().all(is_conflict)).count(), 15, "{answers:?}");
}

async fn update(storage: &PostgresStorage, change: &Change) -> Record {
    storage.update("a", change).await.expect("it is accepted").expect("it is there")
}

#[tokio::test]
async fn change_affects_only_the_named_parts() {
    let (_test_database, _, storage) = storage(Service::Judge).await;
    let before = store(&storage, &[new_record(Service::Judge, "a", 1)]).await.remove(0);
    assert_eq!(update(&storage, &Change::default()).await, before);

    let text = Some(("other text".to_owned(), at_angle(2.0).into()));
    let after = update(&storage, &Change { text, ..Change::default() }).await;
    assert_eq!(after, Record { text: "other text".into(), ..before.clone() });
    let nearest = crate::nearest_to(at_angle(2.0), Selection::default(), 1);
    let distance = storage.search(&nearest).await.expect("it is found")[0].distance;
    assert!(distance.is_some_and(|distance| distance < 1e-6), "{distance:?}");

    let after = update(&storage, &Change { category: Some("new".into()), ..Change::default() }).await;
    assert_eq!(after.metadata["theme"], "new");
    assert_eq!(after.metadata["n"], 1);
    assert_eq!(ids(&storage, &in_category("new")).await, ["a"]);

    let metadata = Some(object(json!({"m": 2.0})));
    let after = update(&storage, &Change { metadata, ..Change::default() }).await;
    let expected = json!({
        "m": 2.0, "theme": "new", "model_id": "gpt-4", "query": "query 1", "timestamp": before.metadata["timestamp"],
    });
    assert_eq!(Value::Object(after.metadata.clone()), expected);
    assert_eq!(storage.get(&["a".to_owned()]).await.expect("it reads"), [after]);

    let metadata = Some(object(json!({"timestamp": "yesterday"})));
    let error = storage.update("a", &Change { metadata, ..Change::default() }).await;
    assert!(matches!(error, Err(StorageError::Refused { .. })), "{error:?}");
}

#[tokio::test]
async fn users_timestamp_stays_as_written() {
    let (_test_database, _, storage) = storage(Service::Query).await;
    let mut own = new_record(Service::Query, "a", 0);
    own.metadata = object(json!({"timestamp": "2020-02-02 02:02:02"}));
    let stored = store(&storage, &[own, new_record(Service::Query, "b", 0)]).await;
    let read = storage.get(&["a".to_owned(), "b".to_owned()]).await.expect("they read");
    assert_eq!(read, stored);
    assert_eq!(read[0].metadata["timestamp"], "2020-02-02 02:02:02");
    assert_eq!(read[1].metadata["timestamp"], shown_time(NOON));
}

#[tokio::test]
async fn batch_overtaken_during_the_copy_sees_the_other_record() {
    let (test_database, _, storage) = storage(Service::Query).await;
    let mut rival = test_database.connection().await;
    let mut rival = rival.begin().await.expect("a transaction begins");
    let theirs = "insert into queries (id, query_text, theme) values ($1, 'theirs', 'x')";
    sqlx::query(theirs).bind(stored_id("77")).execute(&mut *rival).await.expect("the row is written");
    let records: Vec<NewRecord> = (0..100).map(|n| new_record(Service::Query, &n.to_string(), n)).collect();
    let commit = async {
        let mut look = test_database.connection().await;
        let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut look).await.expect("it counts") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        rival.commit().await.expect("it commits");
    };
    let (stored, ()) = tokio::join!(storage.insert(&records, Atomicity::Each), commit);
    let stored = stored.expect("the batch is stored");
    assert_eq!(stored[77], Insertion::Conflict);
    assert_eq!(stored.iter().filter(|one| matches!(one, Insertion::Stored(_))).count(), 99);
    assert_eq!(storage.count(&Selection::default()).await.expect("they are counted"), 100);
}
