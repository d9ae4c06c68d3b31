//! Old rows, poolers, and server restarts.

use std::time::Duration;

use provision::Durability;
use records::Service;
use serde_json::json;
use store::{
    postgres::{Database, DatabaseOptions, PostgresStorage},
    storage::{Atomicity, Change, Selection, Start, Storage as _, StorageError},
};
use test_support::{PgBouncer, PostgresServer, TestDatabase};
use tokio::time::{Instant, sleep};

use super::{filtered, ids, in_category, new_record, storage, store, store_numbered};
use crate::{adoption::OLD_SCHEMA, at_angle, nearest_to};

const OLD_OUTPUT: &str = "a0000000-0000-4000-8000-000000000003";

#[tokio::test]
async fn rows_of_the_old_services_are_records_like_others() {
    let test_database = TestDatabase::create().await;
    test_database.execute(OLD_SCHEMA).await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let queries = PostgresStorage::new(database.clone(), Service::Query);
    queries.check().await.expect_err("the table is not adopted yet");
    for service in Service::ALL {
        let storage = PostgresStorage::new(database.clone(), service);
        database.prepare_service(service).await.expect("the database is adopted");
        database.prepare_service(service).await.expect("a second time changes nothing");
        storage.check().await.expect("the table is fit");
        let listed = storage.list(&Selection::default(), Start::Offset(0), 10).await.expect("the row reads");
        assert_eq!(listed.len(), 1);
        let old = &listed[0];
        let expected = match service {
            Service::Query => {
                json!({"theme": "history", "nested": {"kept": true}, "timestamp": "2024-02-03T04:05:06.789000"})
            }
            Service::Evaluation => {
                json!({"metric_type": "clarity", "timestamp": "2024-02-03T04:05:06.000000"})
            }
            Service::Judge => json!({
                "metadata": [1], "theme": "history", "model_id": "gpt-4", "query": "an old query",
                "timestamp": "2024-02-03T04:05:06.000000",
            }),
        };
        assert_eq!(serde_json::Value::Object(old.metadata.clone()), expected);
        assert_eq!(storage.get(std::slice::from_ref(&old.id)).await.expect("it reads"), listed);
        store(&storage, &[new_record(service, "new", 1)]).await;
        let hits = storage.search(&nearest_to(at_angle(0.0), Selection::default(), 10)).await;
        let with_embedding = if service == Service::Query { 2 } else { 1 };
        assert_eq!(hits.expect("the search runs").len(), with_embedding, "{service}");
        assert_eq!(storage.categories().await.expect("they are counted").len(), 2);
    }
    let results = database.evaluation_results(&Default::default(), 0, 10).await.expect("they read");
    let result = &results[0].result;
    assert_eq!((result.id.as_str(), result.score, result.timestamp), ("r1", Some(7.5), None));
}

#[tokio::test]
async fn filters_match_the_values_shown_for_old_rows() {
    let test_database = TestDatabase::create().await;
    test_database.execute(OLD_SCHEMA).await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    database.prepare_service(Service::Judge).await.expect("the database is adopted");
    let outputs = PostgresStorage::new(database.clone(), Service::Judge);
    for filter in [
        json!({"theme": "history"}),
        json!({"theme": {"$in": ["history"]}}),
        json!({"theme": {"$ne": "x"}}),
        json!({"theme": {"$nin": ["x"]}}),
        json!({"model_id": "gpt-4"}),
        json!({"query": "an old query"}),
        json!({"timestamp": "2024-02-03T04:05:06.000000"}),
        json!({"metadata": {"$contains": 1}}),
        json!({"metadata": {"$ne": 1}}),
        json!({"absent": {"$ne": 1}}),
    ] {
        assert_eq!(ids(&outputs, &filtered(filter.clone())).await, [OLD_OUTPUT], "{filter}");
    }
    for filter in [json!({"theme": {"$ne": "history"}}), json!({"metadata": 1}), json!({"theme": "x"})] {
        assert_eq!(ids(&outputs, &filtered(filter.clone())).await, Vec::<String>::new(), "{filter}");
    }
    let changed =
        outputs.update(OLD_OUTPUT, &Change { category: Some("new".into()), ..Change::default() }).await;
    let changed = changed.expect("it is accepted").expect("it is there");
    assert_eq!(changed.metadata["metadata"], json!([1]), "nothing is lost");
    assert_eq!(ids(&outputs, &in_category("new")).await, [OLD_OUTPUT]);
    assert_eq!(outputs.get(&[OLD_OUTPUT.to_owned()]).await.expect("it reads"), [changed]);
}

#[tokio::test]
async fn unfinished_indexes_are_built_again_and_many_processes_may_build_at_once() {
    let (test_database, database, storage) = storage(Service::Query).await;
    store_numbered(&storage, 10).await;
    let mut connection = test_database.connection().await;
    test_database
        .execute("create index queries_panopticon_newest on queries (created_at); update pg_index set indisvalid = false where indexrelid = 'queries_panopticon_newest'::regclass")
        .await;
    let ensure = || database.ensure_service_indexes(Service::Query);
    let (one, two, three) = tokio::join!(ensure(), ensure(), ensure());
    one.and(two).and(three).expect("each succeeds");
    let built: Vec<(String, bool)> = sqlx::query_as(
        "select indexrelid::regclass::text, indisvalid and indnatts > 1 or indexrelid::regclass::text !~ 'newest' from pg_index where indrelid = 'queries'::regclass order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the catalog reads");
    let names = ["category", "metadata", "newest", "words"].map(|name| format!("queries_panopticon_{name}"));
    let expected: Vec<(String, bool)> =
        names.into_iter().chain(["queries_pkey".to_owned()]).map(|name| (name, true)).collect();
    assert_eq!(built, expected);
}

#[tokio::test]
async fn every_operation_runs_through_a_pooler_in_transaction_mode() {
    let test_database = TestDatabase::create().await;
    let Some(pooler) = PgBouncer::start(&test_database.url(), 2).await else { return };
    let database = Database::connect(pooler.url()).await.expect("the pooler answers");
    database.prepare_service(Service::Query).await.expect("the schema is prepared");
    let storage = &PostgresStorage::new(database, Service::Query);
    let all = |number: u16| async move {
        let id = number.to_string();
        store(storage, &[new_record(Service::Query, &id, number)]).await;
        let text = Some((format!("other {number}"), at_angle(1.0).into()));
        storage.update(&id, &Change { text, ..Change::default() }).await.expect("it is updated");
        storage.list(&in_category("even"), Start::Offset(0), 5).await.expect("it is listed");
        storage.search(&nearest_to(at_angle(0.0), in_category("odd"), 5)).await.expect("it is found");
        assert_eq!(storage.get(std::slice::from_ref(&id)).await.expect("it reads").len(), 1);
        storage.categories().await.expect("they are counted");
        if number.is_multiple_of(3) {
            assert_eq!(storage.delete(std::slice::from_ref(&id)).await.expect("it is deleted"), [id]);
        }
    };
    futures_util::future::join_all((0..30).map(all)).await;
    assert_eq!(storage.count(&Selection::default()).await.expect("they are counted"), 20);
    storage.check().await.expect("the table is fit");
}

#[tokio::test]
async fn storage_recovers_when_the_server_comes_back() {
    let mut server = PostgresServer::private(Durability::Full, &[]).await;
    let options = DatabaseOptions { acquire_timeout: Duration::from_secs(2), ..DatabaseOptions::default() };
    let database = Database::connect_with(&server.url(), &options).await.expect("the server answers");
    database.prepare_service(Service::Query).await.expect("the schema is prepared");
    let storage = PostgresStorage::new(database, Service::Query);
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        acknowledged.extend(store(&storage, &[new_record(Service::Query, &n.to_string(), n)]).await);
    }
    server.kill();
    for _ in 0..3 {
        let failed = storage.insert(&[new_record(Service::Query, "lost", 1)], Atomicity::Each).await;
        assert!(matches!(failed, Err(StorageError::Unavailable { .. })), "{failed:?}");
        let failed = storage.check().await;
        assert!(matches!(failed, Err(StorageError::Unavailable { .. })), "{failed:?}");
    }
    server.restart().await;
    let end = Instant::now() + Duration::from_secs(60);
    let listed = loop {
        match storage.list(&Selection::default(), Start::Offset(0), 100).await {
            Ok(listed) => break listed,
            Err(error) => assert!(Instant::now() < end, "it does not recover: {error:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    acknowledged.reverse();
    assert_eq!(listed, acknowledged, "no acknowledged record is lost");
}

#[tokio::test]
async fn statement_that_takes_too_long_ends_as_unavailable() {
    let (test_database, _, _) = storage(Service::Query).await;
    // The table is locked, and nothing else ends the wait.
    let options = DatabaseOptions {
        lock_timeout: Duration::ZERO,
        statement_timeout: Duration::from_secs(2),
        ..DatabaseOptions::default()
    };
    let database = Database::connect_with(&test_database.url(), &options).await.expect("it answers");
    let storage = PostgresStorage::new(database, Service::Query);
    let mut locker = test_database.connection().await;
    sqlx::raw_sql("begin; lock table queries in access exclusive mode")
        .execute(&mut locker)
        .await
        .expect("it is locked");
    let counted = storage.count(&Selection::default()).await;
    assert!(matches!(counted, Err(StorageError::Unavailable { .. })), "{counted:?}");
    sqlx::raw_sql("rollback").execute(&mut locker).await.expect("the lock ends");
    storage.check().await.expect("the connection is of use");
}

#[tokio::test]
async fn negative_stored_counts_are_errors() {
    let (test_database, database) = crate::prepared().await;
    let epoch = time::macros::datetime!(2020-01-01 0:00);
    test_database
        .execute(
            "insert into vector_search_history (table_name, filter_class, measured_at, seconds, searches, wanted,
                returned, replayed, missing, target, rows)
            values ('queries', 'none', now(), 1, -5, 1, 1, 1, 0, 0.98, 1)",
        )
        .await;
    let kept = database.search_history(epoch).await.expect("the other rows read");
    assert_eq!((kept.rows, kept.unreadable), (Vec::new(), 1));
    test_database.execute("update vector_search_history set searches = 5").await;
    let kept = database.search_history(epoch).await.expect("it reads");
    assert_eq!((kept.rows[0].searches, kept.unreadable), (5, 0));
}
