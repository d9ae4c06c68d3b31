//! Several servers, of which one is the primary, and its failure.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use records::Service;
use sqlx::{Connection as _, PgConnection};
use store::{
    postgres::{Database, DatabaseOptions, PostgresStorage, ServerRole},
    storage::{Atomicity, Insertion, Selection, Storage as _, StorageError},
};
use test_support::{PostgresCluster, PostgresServer, Replication};

use crate::storage_postgres::new_record;

const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(url: &str) -> Database {
    Database::connect(url).await.unwrap_or_else(|error| panic!("{}", records::error_chain(&error)))
}

async fn refused(url: &str) -> String {
    records::error_chain(&Database::connect(url).await.expect_err("no server suits"))
}

async fn query_storage(database: &Database) -> PostgresStorage {
    PostgresStorage::open(database.clone(), Service::Query).await.expect("the storage opens")
}

/// Stores the record `id`. Whether that was acknowledged; otherwise the storage must say that it is unavailable.
async fn is_stored(storage: &PostgresStorage, id: &str) -> bool {
    match storage.insert(&[new_record(Service::Query, id, 1)], Atomicity::AllOrNothing).await {
        Ok(insertions) => {
            let is_new = matches!(insertions[..], [Insertion::Stored(_) | Insertion::Unchanged(_)]);
            assert!(is_new, "{id}: {insertions:?}");
            true
        }
        Err(StorageError::Unavailable { .. }) => false,
        Err(error) => panic!("{id}: {}", records::error_chain(&error)),
    }
}

async fn store_until_accepted(storage: &PostgresStorage, id: &str) {
    let end = Instant::now() + PATIENCE;
    while !is_stored(storage, id).await {
        assert!(Instant::now() < end, "writes are accepted again");
        // Only a write tells.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn flag(server: &PostgresServer, question: &'static str) -> bool {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server answers");
    sqlx::query_scalar(question).fetch_one(&mut connection).await.expect("the question is answered")
}

#[tokio::test]
async fn server_that_the_session_attribute_asks_for_is_found_in_any_order() {
    let cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    for order in [[0, 1], [1, 0]] {
        for (attribute, expected) in [
            ("", ServerRole::Primary),
            ("target_session_attrs=any", ServerRole::Primary),
            ("target_session_attrs=read-write", ServerRole::Primary),
            ("target_session_attrs=primary&load_balance_hosts=random", ServerRole::Primary),
            ("target_session_attrs=standby", ServerRole::Standby),
            ("target_session_attrs=read-only", ServerRole::Standby),
            ("target_session_attrs=prefer-standby", ServerRole::Standby),
        ] {
            let database = connect(&cluster.url_of(&order, attribute)).await;
            assert_eq!(database.server_role(), Some(expected), "{order:?} {attribute}");
            let [first, second] = order.map(|number| cluster.server(number).port());
            let addresses = [(first, second), (second, first)]
                .map(|(first, second)| format!("127.0.0.1:{first},127.0.0.1:{second}/panopticon"));
            let is_random = attribute.contains("random");
            assert!(addresses[..if is_random { 2 } else { 1 }].contains(&database.address().to_owned()));
            database.close().await;
        }
    }
    // One server of a role that is not wanted.
    for (number, attribute, said) in [
        (0, "standby", "it accepts writes"),
        (0, "read-only", "it accepts writes"),
        (1, "read-write", "it is a standby"),
        (1, "primary", "it is a standby"),
    ] {
        let error = refused(&cluster.url_of(&[number], &format!("target_session_attrs={attribute}"))).await;
        let port = cluster.server(number).port();
        assert!(error.contains(&format!("127.0.0.1:{port}: {said}")), "{error}");
        assert!(error.contains("no server accepts writes") == (attribute == "read-write"), "{error}");
    }
    let lone = connect(&cluster.url_of(&[0], "target_session_attrs=prefer-standby")).await;
    assert_eq!(lone.server_role(), Some(ServerRole::Primary));
    let read_only = "options=-cdefault_transaction_read_only%3Don";
    let database = connect(&cluster.url_of(&[0], read_only)).await;
    assert_eq!(database.server_role(), Some(ServerRole::ReadOnly));
    let error =
        refused(&cluster.url_of(&[0, 1], &format!("target_session_attrs=read-write&{read_only}"))).await;
    assert!(error.contains("default_transaction_read_only") && error.contains("it is a standby"), "{error}");
}

#[tokio::test]
async fn servers_that_are_down_are_passed_over_and_named() {
    let mut cluster = PostgresCluster::start(2, Replication::Asynchronous, &[]).await;
    cluster.server_mut(1).kill();
    let database = connect(&cluster.url_of(&[1, 2, 0], "target_session_attrs=read-write")).await;
    assert_eq!(database.server_role(), Some(ServerRole::Primary));
    cluster.server_mut(0).kill();
    let error = refused(&cluster.url_of(&[1, 2, 0], "target_session_attrs=read-write")).await;
    for said in ["no server accepts writes", "connection refused", "it is a standby"] {
        assert!(error.contains(said), "{error}");
    }
    let password = url_password(&cluster);
    assert!(!error.contains(&password), "{error}");
}

fn url_password(cluster: &PostgresCluster) -> String {
    let url = cluster.server(0).url();
    let (_, rest) = url.split_once("://").expect("it is a URL");
    let (login, _) = rest.split_once('@').expect("it has a login");
    login.split_once(':').expect("it has a password").1.to_owned()
}

#[tokio::test]
async fn promotion_under_load_loses_no_acknowledged_write() {
    const WRITERS: usize = 8;
    const WRITES: usize = 25;
    let mut cluster = PostgresCluster::start(2, Replication::Synchronous, &[]).await;
    let database = connect(&cluster.url_of(&[0, 1, 2], "target_session_attrs=read-write")).await;
    let storage = Arc::new(query_storage(&database).await);
    let is_promoted = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (storage, is_promoted) = (Arc::clone(&storage), Arc::clone(&is_promoted));
            tokio::spawn(async move {
                let (mut acknowledged, mut failures, mut after) = (Vec::new(), 0, 0);
                let end = Instant::now() + PATIENCE;
                for number in 0.. {
                    let was_promoted = is_promoted.load(Ordering::SeqCst);
                    let id = format!("{writer}-{number}");
                    match is_stored(&storage, &id).await {
                        true => {
                            acknowledged.push(id);
                            after += usize::from(was_promoted);
                        }
                        false => {
                            failures += 1;
                            // Without a primary, writes fail at once: the writers leave time for the promotion.
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    }
                    if after == WRITES {
                        break;
                    }
                    assert!(
                        Instant::now() < end,
                        "writer {writer} writes after the promotion: {failures} failures"
                    );
                }
                (acknowledged, failures)
            })
        })
        .collect();
    // Each writer has written.
    let end = Instant::now() + PATIENCE;
    while storage.count(&Selection::default()).await.expect("they are counted") < 10 * WRITERS as u64 {
        assert!(Instant::now() < end, "the writers write");
        // They leave the processors to the writers.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let promoted = cluster.fail_over().await;
    is_promoted.store(true, Ordering::SeqCst);
    let mut acknowledged = HashSet::new();
    let mut failures = 0;
    for writer in writers {
        let (ids, failed) = writer.await.expect("the writer ends");
        acknowledged.extend(ids);
        failures += failed;
    }
    assert!(failures > 0, "writes fail while there is no primary");
    let direct = connect(&cluster.server(promoted).url()).await;
    let direct = PostgresStorage::new(direct, Service::Query);
    let ids: Vec<String> = acknowledged.into_iter().collect();
    for some in ids.chunks(100) {
        assert_eq!(
            direct.get(some).await.expect("they read").len(),
            some.len(),
            "no acknowledged one is lost"
        );
    }
    println!("{} acknowledged, {failures} failed", ids.len());
}

#[tokio::test]
async fn lone_standby_serves_reads_and_after_its_promotion_writes() {
    let mut cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    let standby = cluster.server(1).url();
    let error = connect(&standby).await.prepare_schema().await.expect_err("the primary has no schema yet");
    let error = records::error_chain(&error);
    assert!(error.contains("has version none") && error.contains("on the primary first"), "{error}");

    let primary = query_storage(&connect(&cluster.server(0).url()).await).await;
    assert!(is_stored(&primary, "before").await);
    cluster.wait_for_replay(1).await;
    let database = connect(&standby).await;
    assert!(database.rejects_writes() && !database.accepts_writes().await);
    let storage = query_storage(&database).await;
    database.create_default_tenant().await.expect("it is the primary's");
    database.register_services().await.expect("they are the primary's");
    storage.check().await.expect("it can be read");
    assert_eq!(storage.get(&["before".to_owned()]).await.expect("it reads").len(), 1);
    let words =
        "the query storage accepts no writes at present: its database server is a standby or read-only";
    let refused = storage.insert(&[new_record(Service::Query, "lost", 1)], Atomicity::Each).await;
    assert_eq!(refused.expect_err("it is a standby").to_string(), words);
    let refused = storage.delete(&["before".to_owned()]).await;
    assert_eq!(refused.expect_err("it is a standby").to_string(), words);
    assert_eq!(storage.check_writes().await.expect_err("it is a standby").to_string(), words);
    assert_eq!(storage.count(&Selection::default()).await.expect("they are counted"), 1);

    cluster.fail_over().await;
    assert!(is_stored(&storage, "after").await, "the same connections write");
    storage.check_writes().await.expect("it accepts writes");
    assert!(database.accepts_writes().await && !database.rejects_writes());
}

#[tokio::test]
async fn failed_write_leads_from_a_standby_to_the_primary() {
    let mut cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    query_storage(&connect(&cluster.server(0).url()).await).await;
    cluster.wait_for_replay(1).await;
    cluster.server_mut(0).stop();
    let database = connect(&cluster.url_of(&[0, 1], "target_session_attrs=any")).await;
    assert_eq!(database.server_role(), Some(ServerRole::Standby));
    let storage = query_storage(&database).await;
    assert!(!is_stored(&storage, "a").await);
    cluster.server_mut(0).restart().await;
    store_until_accepted(&storage, "a").await;
    assert_eq!(database.server_role(), Some(ServerRole::Primary));
}

#[tokio::test]
async fn former_primary_that_comes_back_gets_no_writes() {
    let mut cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    let database = connect(&cluster.url_of(&[0, 1], "target_session_attrs=read-write")).await;
    let storage = query_storage(&database).await;
    store_until_accepted(&storage, "first").await;
    cluster.wait_for_replay(1).await;
    cluster.fail_over().await;
    store_until_accepted(&storage, "second").await;

    // Both accept writes now. A new process finds the newer one as well.
    cluster.server_mut(0).restart().await;
    let other = connect(&cluster.url_of(&[0, 1], "target_session_attrs=read-write")).await;
    assert!(is_stored(&query_storage(&other).await, "third").await);
    cluster.server_mut(1).kill();
    let end = Instant::now() + PATIENCE;
    let reason = loop {
        let refused = storage.insert(&[new_record(Service::Query, "lost", 1)], Atomicity::Each).await;
        let error = records::error_chain(&refused.expect_err("no server may be used"));
        if error.contains("timeline") {
            break error;
        }
        assert!(Instant::now() < end, "{error}");
        // The servers are looked at in the background.
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(reason.contains("timeline 1") && reason.contains("timeline 2"), "{reason}");
    let lone = connect(&cluster.server(0).url()).await;
    let lone = PostgresStorage::new(lone, Service::Query);
    assert_eq!(lone.count(&Selection::default()).await.expect("they are counted"), 1, "only the first");

    cluster.server_mut(1).restart().await;
    store_until_accepted(&storage, "fourth").await;
    assert_eq!(storage.count(&Selection::default()).await.expect("they are counted"), 4);
}

#[tokio::test]
async fn statement_timeout_acknowledges_no_write_that_no_standby_has() {
    let mut cluster = PostgresCluster::start(1, Replication::Synchronous, &[]).await;
    let options =
        DatabaseOptions { statement_timeout: Duration::from_millis(200), ..DatabaseOptions::default() };
    let url = cluster.url_of(&[0, 1], "target_session_attrs=read-write");
    let prepared = connect(&url).await;
    query_storage(&prepared).await;
    let database = Database::connect_with(&url, &options).await.expect("it answers");
    let storage = PostgresStorage::new(database, Service::Query);
    cluster.server_mut(1).stop();
    let mut writing =
        tokio::spawn(
            async move { storage.insert(&[new_record(Service::Query, "a", 1)], Atomicity::Each).await },
        );
    // Far beyond the time-out.
    let waits = "select exists (
        select from pg_stat_activity
        where wait_event = 'SyncRep' and now() - query_start > interval '2 s'
    )";
    let end = Instant::now() + PATIENCE;
    while !flag(cluster.primary(), waits).await {
        assert!(Instant::now() < end && !writing.is_finished(), "the commit waits for the standby");
        // PostgreSQL gives no notification of waits.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!writing.is_finished());
    cluster.server_mut(1).restart().await;
    let stored = (&mut writing).await.expect("it ends").expect("the standby has it now");
    assert!(matches!(stored[..], [Insertion::Stored(_)]), "{stored:?}");
}
