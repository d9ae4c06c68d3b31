//! Services do not wait for each other, and statements end when their caller is gone.

use std::time::{Duration, Instant};

use records::Service;
use sqlx::{Connection as _, Executor as _, PgConnection};
use store::{
    postgres::{Database, DatabaseOptions, PostgresStorage, Table},
    storage::{Selection, Storage as _, StorageError},
};
use test_support::TestDatabase;
use tokio::task::JoinSet;

use crate::{at_angle, nearest_to, prepared};

const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until the expected number of statements wait for a lock in the database.
async fn wait_until(observer: &mut PgConnection, is_so: impl Fn(i64) -> bool) {
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and state = 'active' and wait_event_type = 'Lock'";
    let end = Instant::now() + PATIENCE;
    loop {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *observer).await.expect("one number");
        if is_so(count) {
            return;
        }
        assert!(Instant::now() < end, "{count} wait");
        // PostgreSQL gives no notification of lock waits, so the test polls.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A database with the tables of all services.
async fn prepared_services() -> TestDatabase {
    prepared().await.0
}

async fn connected(test_database: &TestDatabase, options: &DatabaseOptions) -> Database {
    Database::connect_with(&test_database.url(), options).await.expect("the database answers")
}

#[tokio::test]
async fn locked_table_of_one_service_blocks_neither_others_nor_the_check() {
    let test_database = prepared_services().await;
    // Nothing ends the waits within this test.
    let forever = DatabaseOptions {
        lock_timeout: Duration::ZERO,
        statement_timeout: Duration::ZERO,
        ..DatabaseOptions::default()
    };
    for max_connections in [12, 3] {
        let database =
            connected(&test_database, &DatabaseOptions { max_connections, ..forever.clone() }).await;
        let [queries, metrics, outputs] =
            Service::ALL.map(|service| std::sync::Arc::new(PostgresStorage::new(database.clone(), service)));
        let mut locker = test_database.connection().await;
        let mut lock = locker.begin().await.expect("a transaction");
        lock.execute("lock table queries in access exclusive mode").await.expect("it is locked");
        let mut readers = JoinSet::new();
        for _ in 0..40 {
            let queries = queries.clone();
            readers.spawn(async move { queries.count(&Selection::default()).await });
        }
        let mut observer = test_database.connection().await;
        wait_until(&mut observer, |count| count >= 1).await;
        for storage in [&metrics, &outputs].into_iter().take(if max_connections == 3 { 1 } else { 2 }) {
            let counted = tokio::time::timeout(PATIENCE, storage.count(&Selection::default())).await;
            counted.expect("it does not wait").expect("it counts");
        }
        for storage in [&queries, &metrics, &outputs] {
            let checked = tokio::time::timeout(PATIENCE, storage.check()).await;
            checked.expect("it does not wait").expect("the table is fit");
            storage.check_writes().await.expect("it takes writes");
        }
        lock.rollback().await.expect("the lock ends");
        while let Some(counted) = readers.join_next().await {
            assert_eq!(counted.expect("no panic").expect("they go on"), 0);
        }
    }
}

#[tokio::test]
async fn wait_for_a_lock_ends_as_unavailable() {
    let test_database = prepared_services().await;
    let options = DatabaseOptions { lock_timeout: Duration::from_millis(50), ..DatabaseOptions::default() };
    let storage = PostgresStorage::new(connected(&test_database, &options).await, Service::Query);
    let mut locker = test_database.connection().await;
    let mut lock = locker.begin().await.expect("a transaction");
    lock.execute("lock table queries in access exclusive mode").await.expect("it is locked");
    let counted = storage.count(&Selection::default()).await;
    assert!(matches!(counted, Err(StorageError::Unavailable { .. })), "{counted:?}");
    lock.rollback().await.expect("the lock ends");
    assert_eq!(storage.count(&Selection::default()).await.expect("it counts"), 0);
}

#[tokio::test]
async fn statement_whose_caller_is_gone_is_ended_and_its_connection_replaced() {
    let test_database = prepared_services().await;
    // Nothing else would end it.
    let options = DatabaseOptions {
        lock_timeout: Duration::ZERO,
        statement_timeout: Duration::ZERO,
        max_connections: 1,
        ..DatabaseOptions::default()
    };
    let storage = PostgresStorage::new(connected(&test_database, &options).await, Service::Query);
    let (all, nearest) = (Selection::default(), nearest_to(at_angle(0.0), Selection::default(), 5));
    // What it knows of the table's index is not asked again while the table is locked.
    storage.search(&nearest).await.expect("it is searched");
    let mut locker = test_database.connection().await;
    let mut lock = locker.begin().await.expect("a transaction");
    lock.execute("lock table queries in access exclusive mode").await.expect("it is locked");
    let mut observer = test_database.connection().await;
    for _ in 0..3 {
        tokio::select! {
            counted = storage.count(&all) => panic!("it was to wait: {counted:?}"),
            () = wait_until(&mut observer, |count| count > 0) => {}
        }
        wait_until(&mut observer, |count| count == 0).await;
        tokio::select! {
            found = storage.search(&nearest) => panic!("it was to wait: {found:?}"),
            () = wait_until(&mut observer, |count| count > 0) => {}
        }
        wait_until(&mut observer, |count| count == 0).await;
    }
    lock.rollback().await.expect("the lock ends");
    assert_eq!(storage.count(&Selection::default()).await.expect("it counts"), 0);
}

#[tokio::test]
async fn role_with_few_connections_uses_no_more_and_all_requests_are_served() {
    let test_database = prepared_services().await;
    let role = format!("few_{}", uuid::Uuid::new_v4().simple());
    test_database
        .execute(&format!(
            "create role {role} login password 'few' connection limit 3;
             grant select, insert, update, delete on all tables in schema public to {role}"
        ))
        .await;
    let url = with_user(&test_database.url(), &role);
    let database = Database::connect(&url).await.expect("the role may connect");
    let storage = std::sync::Arc::new(PostgresStorage::new(database.clone(), Service::Query));
    storage.check().await.expect("the table is fit");
    let mut readers = JoinSet::new();
    for _ in 0..30 {
        let storage = storage.clone();
        readers.spawn(async move { storage.count(&Selection::default()).await });
    }
    while let Some(counted) = readers.join_next().await {
        assert_eq!(counted.expect("no panic").expect("it waits for its turn"), 0);
    }
    storage.check().await.expect("the table is fit");
    drop(storage);
    database.close().await;
    test_database.execute(&format!("drop owned by {role}; drop role {role}")).await;
}

/// The URL for another user with the password `few`.
fn with_user(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (_, place) = rest.split_once('@').expect("a URL with a user");
    format!("{scheme}://{user}:few@{place}")
}

#[tokio::test]
async fn read_only_database_is_reported_as_not_writable() {
    let test_database = prepared_services().await;
    test_database
        .execute("do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$")
        .await;
    let storage =
        PostgresStorage::new(connected(&test_database, &DatabaseOptions::default()).await, Service::Query);
    storage.check().await.expect("it can be read");
    let error = storage.check_writes().await.expect_err("it is read-only");
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the query storage accepts no writes at present: its database server is a standby or read-only"
    );
}

#[tokio::test]
async fn missing_and_unreadable_columns_are_named() {
    let test_database = prepared_services().await;
    let user = format!("reader_{}", uuid::Uuid::new_v4().simple());
    test_database
        .execute(&format!(
            "create role {user} login password 'few';
            grant select, insert on all tables in schema public to {user}"
        ))
        .await;
    let url = with_user(&test_database.url(), &user);
    let database = Database::connect_with(&url, &DatabaseOptions::default()).await.expect("it may connect");
    let mut connection = test_database.connection().await;
    for service in Service::ALL {
        let storage = PostgresStorage::new(database.clone(), service);
        storage.check_writes().await.expect("nothing is amiss");
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select relname::text, attname::text
            from pg_attribute join pg_class on pg_class.oid = attrelid
            where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
                and case
                    when relname in ('queries', 'evaluation_metrics', 'llm_outputs') then relname = $1
                    else $1 = 'llm_outputs'
                        and relname in ('evaluation_results', 'models', 'runs', 'run_tasks', 'run_queries', 'run_workers')
                end",
        )
        .bind(Table::of(service).name)
        .fetch_all(&mut connection)
        .await
        .expect("the columns are read");
        assert!(columns.len() > 5, "{columns:?}");
        for (table, column) in columns {
            test_database.execute(&format!("alter table {table} rename column {column} to {column}_x")).await;
            let error = storage.check_writes().await.expect_err("a column is missing");
            let StorageError::Failed { source, .. } = error else { panic!("{error:?}") };
            assert_eq!(source.to_string(), format!("column `{column}` of table `{table}` is missing"));
            test_database.execute(&format!("alter table {table} rename column {column}_x to {column}")).await;
        }
    }
    test_database
        .execute(&format!(
            "revoke select on evaluation_results from {user};
            grant select (id, score) on evaluation_results to {user}"
        ))
        .await;
    let error =
        PostgresStorage::new(database.clone(), Service::Judge).check_writes().await.expect_err("it may not");
    let StorageError::Failed { source, .. } = error else { panic!("{error:?}") };
    let source = source.to_string();
    assert!(
        source.starts_with("the role may not read column `") && source.contains("`evaluation_results`"),
        "{source}"
    );
    drop(database);
    test_database.execute(&format!("drop owned by {user}; drop role {user}")).await;
}

#[tokio::test]
async fn tables_that_accept_no_rows_are_named_with_the_reason() {
    let test_database = prepared_services().await;
    let url = test_database.url();
    let user = format!("writer_{}", uuid::Uuid::new_v4().simple());
    test_database
        .execute(&format!(
            "create role {user} login password 'few';
            grant select, insert on all tables in schema public to {user};
            revoke insert on queries from {user};
            revoke select on run_tasks from {user};
            drop table evaluation_metrics"
        ))
        .await;
    let database = Database::connect_with(&with_user(&url, &user), &DatabaseOptions::default())
        .await
        .expect("it may connect");
    for (service, expected) in [
        (Service::Query, "the role may not add rows to table `queries`: grant insert on it"),
        (Service::Evaluation, "table `evaluation_metrics` is missing"),
        (Service::Judge, "the role may not read table `run_tasks`: grant select on it"),
    ] {
        let error =
            PostgresStorage::new(database.clone(), service).check_writes().await.expect_err("it cannot");
        let StorageError::Failed { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), expected);
    }
    drop(database);
    test_database.execute(&format!("drop owned by {user}; drop role {user}")).await;
}
