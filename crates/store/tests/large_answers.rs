//! Large answers about collections wait for each other, and small ones do not wait for them.

use std::time::{Duration, Instant};

use records::{DistanceSpace, Embedding};
use store::postgres::{
    Database, DatabaseOptions,
    collection_records::{Collections, RecordParts, RecordSelection, RecordWrite, WriteMode},
    collections::{Collection, DEFAULT_DATABASE, DEFAULT_TENANT, Existing, NewCollection},
};
use test_support::TestDatabase;

use crate::{at_angle, prepared};

const PATIENCE: Duration = Duration::from_secs(60);
/// With documents of a kilobyte each, their answer is large.
const RECORDS: u16 = 1_000;
const ALL: RecordParts = RecordParts { document: true, metadata: true, uri: true, embedding: false };

/// The number of large answers that are read at once.
fn turns() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    u32::try_from(cores.min(4)).expect("few")
}

/// Collections on a database with some connections.
async fn collections(connections: u32) -> (TestDatabase, Collections) {
    let (test_database, database) = prepared().await;
    database.create_default_tenant().await.expect("it is created");
    database.close().await;
    let options = DatabaseOptions {
        max_connections: connections,
        lock_timeout: PATIENCE,
        statement_timeout: PATIENCE,
        ..DatabaseOptions::default()
    };
    let database = Database::connect_with(&test_database.url(), &options).await;
    (test_database, Collections::new(database.expect("the database answers")))
}

fn record(number: u16) -> RecordWrite {
    RecordWrite {
        id: number.to_string(),
        embedding: Some(at_angle(f32::from(number) / 500.0).into()),
        document: Some("x".repeat(1_000)),
        uri: None,
        metadata: None,
    }
}

async fn collection(collections: &Collections, name: &str, records: u16) -> Collection {
    let new = NewCollection {
        tenant: DEFAULT_TENANT,
        database: DEFAULT_DATABASE,
        name,
        space: DistanceSpace::L2,
        metadata: None,
        configuration: "{}",
        schema: "{}",
    };
    let created = collections.database().create_collection(&new, Existing::Refuse).await;
    let id = created.expect("it is created").id;
    let find = async || {
        let found = collections.find(DEFAULT_TENANT, DEFAULT_DATABASE, id).await;
        found.expect("the registry is read").expect("it exists")
    };
    let records: Vec<RecordWrite> = (0..records).map(record).collect();
    collections.write(&find().await, &records, WriteMode::Add).await.expect("they are written");
    find().await
}

/// More hits than are found without a turn.
fn vectors() -> Vec<Embedding> {
    (0..25_u8).map(|number| at_angle(f32::from(number) / 10.0).into()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_queries_do_not_wait_for_each_other_in_a_circle() {
    let (_test_database, collections) = collections(1).await;
    let collection = collection(&collections, "large", RECORDS).await;
    let query = async || {
        let (vectors, all) = (vectors(), RecordSelection::default());
        let found = collections.query(&collection, &all, (&vectors, RECORDS.into()), ALL).await;
        found.expect("it is its turn")
    };
    let found = futures_util::future::join_all((0..turns() + 3).map(|_| query())).await;
    for found in found {
        assert_eq!(found.records.len(), usize::from(RECORDS));
        assert!(found.nearest.iter().all(|hits| hits.len() == usize::from(RECORDS)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_answers_do_not_wait_for_large_ones() {
    let connections = turns() + if turns() < 3 { 1 } else { 2 };
    let (test_database, collections) = collections(connections).await;
    let blocked = collection(&collections, "blocked", RECORDS).await;
    let large = collection(&collections, "large", RECORDS).await;
    let small = collection(&collections, "small", 10).await;
    let all = RecordSelection::default();
    let changes: Vec<RecordWrite> = (0..RECORDS).map(record).collect();
    let mut other = test_database.connection().await;
    let table = blocked.table.as_ref().expect("it has a table").name.clone();
    let lock = format!("begin; lock table {table} in access exclusive mode");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut other).await.expect("it is locked");

    let count = || async { collections.get(&small, &all, ALL, (None, 0)).await.map(|found| found.len()) };
    let unblocked = async {
        // It is not blocked, so it ends only now.
        let waiting = "select count(*)::text from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        let end = Instant::now() + PATIENCE;
        while test_database.texts(waiting).await != [turns().to_string()] {
            assert!(Instant::now() < end, "all turns are taken");
            // PostgreSQL gives no notification of a process that waits for a lock, so the test polls.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let large_ones = async {
            let vectors = vectors();
            let (vectors, few) = (vectors.as_slice(), &vectors[..15]);
            let get = || collections.get(&large, &all, ALL, (None, 0));
            tokio::join!(
                get(),
                get(),
                collections.query(&large, &all, (vectors, RECORDS.into()), ALL),
                collections.query(&large, &all, (few, RECORDS.into()), ALL),
                collections.write(&large, &changes, WriteMode::Upsert),
            )
        };
        let small_ones = async {
            for _ in 0..50 {
                assert_eq!(count().await.expect("a connection is free"), 10);
            }
            sqlx::raw_sql("rollback").execute(&mut other).await.expect("it is unlocked");
        };
        let ((one, two, many, few, written), ()) = tokio::join!(large_ones, small_ones);
        for got in [one, two] {
            assert_eq!(got.expect("it is read").len(), usize::from(RECORDS));
        }
        assert_eq!(many.expect("it is found").nearest.len(), 25);
        assert_eq!(few.expect("it is found").nearest.len(), 15);
        written.expect("they are written");
    };
    let vectors = vectors();
    let blocked_ones =
        (0..turns()).map(|_| collections.query(&blocked, &all, (&vectors, RECORDS.into()), ALL));
    let (found, ()) = tokio::join!(futures_util::future::join_all(blocked_ones), unblocked);
    assert!(found.iter().all(|found| found.as_ref().is_ok_and(|found| found.nearest.len() == 25)));
}
