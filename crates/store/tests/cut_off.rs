//! Operations whose future is dropped at any await leave no transaction and no unread response on the pool's
//! connections.

use std::{
    cell::RefCell,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, FutureExt as _, poll_fn};
use records::Service;
use sqlx::PgConnection;
use store::{
    Error,
    postgres::{
        Database, DatabaseOptions, PostgresStorage, Table, collections::CollectionError, jobs::Job,
        searches::ReplayedSearch, write::Batch,
    },
    storage::{Atomicity, Change, Selection, Storage as _},
};
use test_support::TestDatabase;

use crate::{at_angle, begin, nearest_to, prepared, record, storage_postgres::new_record, write};

const PATIENCE: Duration = Duration::from_secs(60);
/// Rows of the table of queries, which no operation here changes. Their copy comes in many pieces.
const ROWS: u16 = 60;

/// The result of `future`, unless it needs more than `polls` polls: then it is dropped.
async fn cut_off_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// A database with one connection, and rows with known results.
struct Tried {
    test_database: TestDatabase,
    database: Database,
    queries: PostgresStorage,
    metrics: PostgresStorage,
    job: Job,
}

impl Tried {
    async fn new() -> Self {
        let (test_database, database) = prepared().await;
        let table = Table::of(Service::Query);
        let job = begin(&database, &table).await;
        let rows: Vec<_> = (0..ROWS)
            .map(|n| record(Service::Query, &format!("q{n}"), at_angle(f32::from(n) / 500.0)))
            .collect();
        write(&database, &table, &job, &rows).await;
        database.close().await;
        let one = DatabaseOptions { max_connections: 1, ..DatabaseOptions::default() };
        let database =
            Database::connect_with(&test_database.url(), &one).await.expect("the database answers");
        let [queries, metrics] = [Service::Query, Service::Evaluation]
            .map(|service| PostgresStorage::new(database.clone(), service));
        Self { test_database, database, queries, metrics, job }
    }

    /// Queries in every way that connections are taken, and checks that the responses match the queries.
    async fn ask(&self, told: &str) {
        let ids = [format!("q{}", told.len()), "nobody".to_owned()];
        let found = self.queries.get(&ids).await.expect(told);
        assert_eq!(found.iter().map(|record| &*record.id).collect::<Vec<_>>(), [&ids[0]], "{told}");
        assert_eq!(self.queries.count(&Selection::default()).await.expect(told), u64::from(ROWS), "{told}");
        let nearest = nearest_to(at_angle(0.0), Selection::default(), 2);
        let hits = self.queries.search(&nearest).await.expect(told);
        assert_eq!(hits.iter().map(|hit| &*hit.record.id).collect::<Vec<_>>(), ["q0", "q1"], "{told}");
        let described = self.database.describe().await.expect(told);
        assert!(described.pgvector.is_some(), "{told}: {described:?}");
        assert_eq!(self.scan().await.expect(told), usize::from(ROWS), "{told}");
    }

    async fn scan(&self) -> Result<usize, Error> {
        let mut rows = 0;
        let visit = |_: store::postgres::scan::MigratedRow<'_>| rows += 1;
        self.database.scan_migrated(&Table::of(Service::Query), &[self.job.run_id], visit).await?;
        Ok(rows)
    }

    /// Waits until no other session of the database has a statement or a transaction.
    async fn is_left(&self, observer: &mut PgConnection, told: &str) {
        let busy = "select state || ': ' || query from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
                and state <> 'idle'";
        let end = Instant::now() + PATIENCE;
        loop {
            let busy: Vec<String> = sqlx::query_scalar(busy).fetch_all(&mut *observer).await.expect(told);
            if busy.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{told}: {busy:?}");
            // PostgreSQL gives no notification of the end of a transaction, so the test polls.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn operation(&self, which: Operation) -> BoxFuture<'_, ()> {
        // The result of an operation is irrelevant, as long as the next one gets its own response.
        let (metrics, queries, database) = (&self.metrics, &self.queries, &self.database);
        match which {
            Operation::Begin => async { drop(database.describe().await) }.boxed(),
            Operation::CopyOut => async { drop(self.scan().await) }.boxed(),
            Operation::CopyIn => async {
                let (table, mut batch) = (Table::of(Service::Query), Batch::default());
                for n in 0..40 {
                    batch
                        .new
                        .push(&record(Service::Query, &format!("new{n}"), at_angle(0.5)), self.job.run_id);
                }
                // Never committed.
                drop(database.write(&table, &self.job, &batch).await);
            }
            .boxed(),
            Operation::RefusedRows => async {
                let (table, mut batch) = (Table::of(Service::Query), Batch::default());
                for id in ["new", "q1", "other"] {
                    batch.new.push(&record(Service::Query, id, at_angle(0.5)), self.job.run_id);
                }
                drop(database.refused_rows(&table, &batch).await);
            }
            .boxed(),
            Operation::Insert => async {
                let new: Vec<_> =
                    (0..20).map(|n| new_record(Service::Evaluation, &n.to_string(), n)).collect();
                drop(metrics.insert(&new, Atomicity::AllOrNothing).await);
            }
            .boxed(),
            Operation::Update => async {
                let change = Change { category: Some("other".to_owned()), ..Change::default() };
                drop(metrics.update("1", &change).await);
            }
            .boxed(),
            Operation::Count => async { drop(queries.count(&Selection::default()).await) }.boxed(),
            Operation::Search => async {
                drop(queries.search(&nearest_to(at_angle(0.0), Selection::default(), ROWS.into())).await);
            }
            .boxed(),
            Operation::Replay => async {
                let search =
                    ReplayedSearch { embedding: at_angle(0.2).into(), selection: Selection::default() };
                drop(database.replay(&Table::of(Service::Query), &search, 5, PATIENCE).await);
            }
            .boxed(),
            Operation::Lock => async {
                if let Ok(lock) = database.lock_indexes("queries").await {
                    drop(lock.release().await);
                }
            }
            .boxed(),
            Operation::Alone => async { drop(database.vacuum("migration_groups").await) }.boxed(),
            Operation::Failing => async { drop(database.vacuum("nowhere").await) }.boxed(),
            Operation::Schema => async { drop(database.prepare_bookkeeping().await) }.boxed(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Begin,
    CopyOut,
    CopyIn,
    RefusedRows,
    Insert,
    Update,
    Count,
    Search,
    Replay,
    Lock,
    Alone,
    Failing,
    Schema,
}

const OPERATIONS: [Operation; 13] = [
    Operation::Begin,
    Operation::CopyOut,
    Operation::CopyIn,
    Operation::RefusedRows,
    Operation::Insert,
    Operation::Update,
    Operation::Count,
    Operation::Search,
    Operation::Replay,
    Operation::Lock,
    Operation::Alone,
    Operation::Failing,
    Operation::Schema,
];

#[tokio::test]
async fn operation_dropped_at_any_await_leaves_no_response_and_no_transaction() {
    let tried = Tried::new().await;
    let mut observer = tried.test_database.connection().await;
    tried.ask("at first").await;
    for operation in OPERATIONS {
        // Every one of the first, which begin and prepare, and then some.
        for polls in (0..8).chain((3..).map(|exponent| 1 << exponent)) {
            let told = format!("{operation:?} after {polls} polls");
            let mut is_done = false;
            // One asks at once, the other once all is over.
            for is_over_first in [false, true] {
                is_done |= cut_off_after(polls, tried.operation(operation)).await.is_some();
                if is_over_first {
                    tried.is_left(&mut observer, &told).await;
                }
                tried.ask(&told).await;
            }
            if is_done {
                break;
            }
        }
        // VACUUM fails inside a transaction that was left open.
        tried.database.vacuum("migration_groups").await.expect("no transaction was left open");
    }
}

thread_local! {
    /// The server's warnings to connections of this thread.
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the server's warnings.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn && metadata.target().starts_with("sqlx::postgres::notice")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.with_borrow_mut(|warnings| warnings.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn transaction_whose_commit_is_cut_off_is_not_rolled_back_after_its_end() {
    log::set_logger(&Warnings).expect("no other test sets one");
    log::set_max_level(log::LevelFilter::Warn);
    let (test_database, database) = prepared().await;
    let mut observer = test_database.connection().await;
    sqlx::raw_sql("rollback").execute(&mut observer).await.expect("a rollback outside a transaction");
    assert_eq!(WARNINGS.take().len(), 1, "the server warns of it");
    let tried = Tried::new().await;
    let mut observer = tried.test_database.connection().await;
    let (tenant, name) = ("default_tenant", "docs");
    tried.database.create_default_tenant().await.expect("it is created");
    for polls in 0.. {
        let id = uuid::Uuid::from_u128(polls as u128 + 1);
        let create = format!(
            "insert into chroma_collections (id, database_id, name, space, created_at)
            select '{id}', '00000000-0000-0000-0000-000000000000', '{name}', 'l2', now()
            on conflict do nothing"
        );
        tried.test_database.execute(&create).await;
        let deleted = tried.database.delete_collection(tenant, "default_database", name);
        let deleted = cut_off_after(polls, deleted).await;
        tried.is_left(&mut observer, &format!("after {polls} polls")).await;
        assert_eq!(WARNINGS.take(), [""; 0], "after {polls} polls");
        match deleted {
            None => {}
            Some(Ok(()) | Err(CollectionError::NotFound)) => break,
            Some(Err(error)) => panic!("{error}"),
        }
    }
    drop(database);
}
