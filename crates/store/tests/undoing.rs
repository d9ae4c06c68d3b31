//! Undoing a run removes its inserted rows, restores changed and deleted ones, and changes nothing else.

use std::time::{Duration, Instant};

use chroma::EmptyDatabase;
use records::Service;
use sqlx::PgConnection;
use store::postgres::{
    Database, Table,
    collections::{ChangedHere, Registered, Unregistered},
    jobs::Job,
    undo::UndoResult,
    write::{Batch, row_digest},
};
use test_support::TestDatabase;
use uuid::Uuid;

use crate::{at_angle, begin, prepared, record, write};

/// Enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn undo(database: &Database, table: &Table, job: &Job, kept: &[Uuid]) -> UndoResult {
    let undo = database.begin_undo(table).await.expect("nobody writes");
    undo.finish(table, job, kept).await.expect("the run is undone")
}

#[tokio::test]
async fn changed_and_deleted_rows_are_restored() {
    let (test_database, database) = prepared().await;
    let table = Table::of(Service::Query);
    let everything = "select string_agg(to_jsonb(q)::text, ',' order by id) from queries q";
    let content = async || -> String {
        let mut connection = test_database.connection().await;
        sqlx::query_scalar(everything).fetch_one(&mut connection).await.expect("the rows read")
    };
    test_database.execute("insert into queries (query_text, theme) values ('born here', 'own')").await;
    let first = begin(&database, &table).await;
    let [a, b, c] = ["a", "b", "c"].map(|id| record(Service::Query, id, at_angle(0.1)));
    write(&database, &table, &first, &[a.clone(), b.clone(), c.clone()]).await;
    let before = content().await;

    let second = begin(&database, &table).await;
    let mut changed = b.clone();
    changed.text = Some("changed".into());
    let digest = |record| row_digest(&mut Vec::new(), record);
    let mut batch = Batch { deleted: vec![(c.id, digest(&c))], ..Batch::default() };
    batch.new.push(&record(Service::Query, "d", at_angle(0.2)), second.run_id);
    batch.changed.push(&changed, second.run_id);
    batch.changed_from.push(digest(&b));
    let pending = database.write(&table, &second, &batch).await.expect("the rows are accepted");
    let written = pending.commit().await.expect("the batch commits").counts;
    assert_eq!((written.written, written.updated, written.deleted), (1, 1, 1));
    assert_eq!(database.later_changes(&first).await.expect("the runs read"), [second.run_id]);

    let undone = undo(&database, &table, &second, &[]).await;
    let expected = UndoResult { removed: 1, restored: 2, ..UndoResult::default() };
    assert_eq!(undone, expected);
    assert_eq!(content().await, before);

    assert!(database.later_changes(&first).await.expect("the runs read").is_empty());
    let undone = undo(&database, &table, &first, &[a.id]).await;
    assert_eq!((undone.removed, undone.restored), (2, 0), "a is kept");
}

#[tokio::test]
async fn table_created_by_a_run_is_dropped() {
    let (_test_database, database) = prepared().await;
    let table = Table { name: "made".into(), ..Table::of(Service::Query) };
    let job = begin(&database, &table).await;
    write(&database, &table, &job, &[record(Service::Query, "a", at_angle(0.1))]).await;
    let undone = undo(&database, &table, &job, &[]).await;
    assert!(undone.table_dropped);
    assert!(database.check_table(&table).await.is_err());
}

#[tokio::test]
async fn database_in_which_a_client_creates_a_collection_meanwhile_is_kept() {
    let (test_database, database) = prepared().await;
    let run = Uuid::from_u128(7);
    test_database
        .execute(&format!(
            "insert into chroma_databases (id, tenant, name, created_at, migration_run)
            values (gen_random_uuid(), 'default_tenant', 'carried', now(), '{run}')"
        ))
        .await;
    // As the server creates a collection.
    let mut client = test_database.connection().await;
    sqlx::raw_sql(
        "begin;
        select id from chroma_databases where name = 'carried' for key share;
        insert into chroma_collections (id, database_id, name, space, created_at)
            select gen_random_uuid(), id, 'new', 'l2', now() from chroma_databases where name = 'carried'",
    )
    .execute(&mut client)
    .await
    .expect("the statements run");
    let undone = undone_after(&test_database, &database, run, client).await;
    assert_eq!(undone.databases, []);
    let left = test_database.texts("select name from chroma_databases where name = 'carried'").await;
    assert_eq!(left, ["carried"]);
}

#[tokio::test]
async fn tenant_in_which_a_client_or_another_run_creates_a_database_meanwhile_is_kept() {
    for is_client in [true, false] {
        let (test_database, database) = prepared().await;
        let [run, later] = [7, 8].map(Uuid::from_u128);
        let tenant = format!(
            "insert into chroma_tenants (name, created_at, migration_run) values ('carried', now(), '{run}')"
        );
        test_database.execute(&tenant).await;
        // The statement of the other holds its transaction open, since the database waits for its name.
        let mut other = test_database.connection().await;
        let taken = "begin; insert into chroma_databases (id, tenant, name, created_at)
            values (gen_random_uuid(), 'carried', 'new', now())";
        sqlx::raw_sql(taken).execute(&mut other).await.expect("the statement runs");
        let creation = tokio::spawn({
            let database = database.clone();
            let new = EmptyDatabase { tenant: "carried".to_owned(), database: Some("new".to_owned()) };
            async move {
                match is_client {
                    true => {
                        database.create_collection_database("carried", "new").await.expect("it is created")
                    }
                    false => {
                        let registered = database.register_databases(&[new], later, ChangedHere::Keep).await;
                        assert_eq!(registered.expect("it is registered"), [Registered::Created]);
                    }
                }
            }
        });
        wait_for_locks(&test_database, 1).await;
        let undone = tokio::spawn(async move { database.unregister_runs(&[run]).await });
        wait_for_locks(&test_database, 2).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.expect("the statement runs");
        creation.await.expect("no panic");
        let undone = undone.await.expect("no panic").expect("it is undone");
        assert_eq!(undone.tenants, [""; 0]);
        let left = test_database.texts("select name from chroma_tenants where name = 'carried'").await;
        assert_eq!(left, ["carried"]);
    }
}

/// The undoing of `run`, which waits for `client` to commit.
async fn undone_after(
    test_database: &TestDatabase,
    database: &Database,
    run: Uuid,
    mut client: PgConnection,
) -> Unregistered {
    let database = database.clone();
    let undone = tokio::spawn(async move { database.unregister_runs(&[run]).await });
    wait_for_locks(test_database, 1).await;
    sqlx::raw_sql("commit").execute(&mut client).await.expect("the statement runs");
    undone.await.expect("no panic").expect("it is undone")
}

/// Waits until `number` connections wait for locks.
async fn wait_for_locks(test_database: &TestDatabase, number: usize) {
    let waiting = "select count(*)::text from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let end = Instant::now() + PATIENCE;
    while test_database.texts(waiting).await != [number.to_string()] {
        assert!(Instant::now() < end, "{number} connections wait for locks");
        // PostgreSQL gives no notification of waits.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
