//! Reads on replicas: where they are done, what they see, and what happens where a replica fails.

mod faults;
mod routing;

use std::time::{Duration, Instant};

use records::Service;
use store::postgres::{Database, DatabaseOptions, PostgresStorage, ServerState, reading_after};
use store::storage::{Atomicity, NewRecord, Record, Storage as _};
use test_support::{PostgresCluster, Replication};

use crate::storage_postgres::new_record;

/// Far longer than any replica lags without a fault.
const MAX_LAG: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(60);

/// A primary with standbys, and a process that reads there.
struct Replicated {
    cluster: PostgresCluster,
    database: Database,
    queries: PostgresStorage,
}

impl Replicated {
    async fn start(standbys: usize, settings: &[(&str, &str)]) -> Self {
        let cluster = PostgresCluster::start(standbys, Replication::Asynchronous, settings).await;
        let prepared = Database::connect(&cluster.primary().url()).await.expect("the primary answers");
        prepared.prepare_schema().await.expect("the schema is created");
        prepared.close().await;
        for standby in 1..=standbys {
            cluster.wait_for_replay(standby).await;
        }
        let urls: Vec<String> = (1..=standbys).map(|standby| cluster.server(standby).url()).collect();
        let (database, queries) = process(&cluster, &urls, MAX_LAG).await;
        Self { cluster, database, queries }
    }

    /// Stores a query.
    async fn store(&self, id: &str) -> NewRecord {
        store(&self.queries, id).await
    }

    /// Waits until the state of the replicas is as `expected`.
    async fn wait_until(&self, expected: impl Fn(&[ServerState]) -> bool) {
        wait_until(&self.database, expected).await;
    }
}

/// Another process with the replicas at `urls`.
async fn process(
    cluster: &PostgresCluster,
    urls: &[String],
    max_lag: Duration,
) -> (Database, PostgresStorage) {
    let limits = DatabaseOptions::default();
    let database =
        Database::connect_with(&cluster.primary().url(), &limits).await.expect("the primary answers");
    let database = database.with_replicas(urls, max_lag, &limits).await.expect("they are replicas");
    let queries = PostgresStorage::new(database.clone(), Service::Query);
    (database, queries)
}

async fn store(queries: &PostgresStorage, id: &str) -> NewRecord {
    let record = new_record(Service::Query, id, 7);
    let stored = queries.insert(std::slice::from_ref(&record), Atomicity::AllOrNothing).await;
    stored.expect("the record is stored");
    record
}

async fn found(queries: &PostgresStorage, id: &str) -> Option<Record> {
    queries.get(&[id.to_owned()]).await.expect("the read is answered").pop()
}

async fn wait_until(database: &Database, expected: impl Fn(&[ServerState]) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let servers = database.read_servers();
        if expected(&servers[1..]) {
            return;
        }
        assert!(Instant::now() < end, "{servers:?}");
        // The replicas are looked at every second.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many reads the primary and the replicas have answered.
fn reads(database: &Database) -> (u64, u64) {
    let servers = database.read_servers();
    let of = |is_replica| {
        servers.iter().filter(|server| server.is_replica == is_replica).map(|server| server.reads).sum()
    };
    (of(false), of(true))
}
