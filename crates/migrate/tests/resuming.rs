//! Interrupted and concurrent runs.

use std::sync::{Arc, Mutex};

use migrate::{Error, Event, MigrateOptions, Observer, Outcome, Step};
use records::{DistanceSpace, Service};
use store::postgres::{Table, jobs::JobStatus};
use test_support::{TestDatabase, sample};
use tokio::sync::oneshot;

use crate::{
    copied,
    directory::{Directory, entries},
    migrate, migrate_with, one, prepared, sample_name, silent, table, transfer, transfer_of, try_migrate,
    verified, whole_state,
};

/// Makes the server reject one row of `name`, as a full disk might.
async fn refuse(test_database: &TestDatabase, name: &str, source_id: &str) {
    test_database
        .execute(&format!(
            "create function refuse() returns trigger language plpgsql as
                $$ begin if new.source_id = '{source_id}' then raise 'disk full'; end if; return new; end $$;
            create trigger refuse before insert on {name} for each row execute function refuse();"
        ))
        .await;
}

/// One record per batch, on one connection.
fn in_small_steps() -> MigrateOptions {
    MigrateOptions { batch_rows: 1, connections: 1, ..MigrateOptions::default() }
}

/// A migration of six records into `records`, interrupted after the third.
async fn interrupted(test_database: &TestDatabase, database: &store::postgres::Database) -> Directory {
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..1, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(database, directory.path(), &records).await;
    refuse(test_database, "records", "record 3").await;
    directory.put("records", &entries(1..6, 3));
    let error = try_migrate(database, directory.path(), &records, &in_small_steps()).await;
    let error = error.expect_err("the fourth is refused");
    assert!(matches!(&error, Error::Store { table, .. } if table == "records"), "{error}");
    test_database.execute("drop trigger refuse on records").await;
    directory
}

#[tokio::test]
async fn same_command_resumes_from_the_last_batch_with_the_same_run() {
    let (test_database, database) = prepared().await;
    let directory = interrupted(&test_database, &database).await;
    let jobs = database.jobs().await.expect("the jobs read");
    let (job, rows) = (&jobs[1], one::<i64>(&test_database, "select count(*) from records").await);
    assert_eq!(
        (job.status, job.counts.written, rows),
        (JobStatus::Copying, 2, 3),
        "progress matches the rows"
    );

    let records = table("records", DistanceSpace::L2, 3);
    let transfers = vec![transfer(directory.path(), &records)];
    let report = migrate::migrate(&database, transfers, &in_small_steps(), &silent()).await;
    let report = report.expect("the migration runs");
    assert!(report.is_resumed);
    assert_eq!((report.run_id, report.outcome()), (job.run_id, Outcome::Verified));
    let report = &report.collections[0];
    assert_eq!((copied(report).written, copied(report).unchanged), (3, 3));
    assert_eq!((verified(report).matched, verified(report).rows), (6, 6));
    let jobs = database.jobs().await.expect("the jobs read");
    assert_eq!((jobs.len(), jobs[1].status, jobs[1].counts.written), (2, JobStatus::Complete, 5));
}

#[tokio::test]
async fn unfinished_run_blocks_another_source_target_or_mapping() {
    let (test_database, database) = prepared().await;
    let directory = interrupted(&test_database, &database).await;
    let records = table("records", DistanceSpace::L2, 3);
    let before = whole_state(&test_database).await;
    let moved = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(directory.path().join("chroma.sqlite3"), moved.path().join("chroma.sqlite3"))
        .expect("the directory copies");
    let other_table = table("elsewhere", DistanceSpace::L2, 3);
    let other_text = Table { text_column: "body".to_owned(), ..records.clone() };
    directory.add_collection("others", DistanceSpace::L2);
    directory.put("others", &entries(10..12, 3));
    for transfer in [
        transfer(moved.path(), &records),
        transfer_of(directory.path(), "records", &other_table),
        transfer(directory.path(), &other_text),
        transfer_of(directory.path(), "others", &records),
    ] {
        let refused =
            migrate::migrate(&database, vec![transfer], &MigrateOptions::default(), &silent()).await;
        let error = refused.expect_err("the first run is not finished");
        assert!(matches!(error, Error::Unfinished(_)), "{error}");
        assert!(error.to_string().contains("finish it with the command that began it"), "{error}");
    }
    assert_eq!(whole_state(&test_database).await, before);
}

#[tokio::test]
async fn finished_run_allows_a_moved_directory_but_not_other_columns() {
    let (_test_database, database) = prepared().await;
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..3, 3));
    let records = table("records", DistanceSpace::L2, 3);
    migrate(&database, directory.path(), &records).await;
    let other_text = Table { text_column: "body".to_owned(), ..records.clone() };
    let error = try_migrate(&database, directory.path(), &other_text, &MigrateOptions::default()).await;
    assert!(matches!(error, Err(Error::OtherMapping(_))));
    let moved = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(directory.path().join("chroma.sqlite3"), moved.path().join("chroma.sqlite3"))
        .expect("the directory copies");
    let report = migrate(&database, moved.path(), &records).await;
    assert_eq!((report.outcome(), copied(&report).unchanged), (Outcome::Verified, 3));
}

/// Signals the first completion of `step`.
fn signal(step: Step) -> (Observer, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    // The observer is called from several threads.
    let sender = Mutex::new(Some(sender));
    let observer: Observer = Arc::new(move |event| {
        if event == Event::Step(step)
            && let Some(sender) = sender.lock().expect("no holder panics").take()
        {
            // The receiver is dropped if the test has failed.
            let (Ok(()) | Err(())) = sender.send(());
        }
    });
    (observer, receiver)
}

#[tokio::test]
async fn second_migration_into_a_table_fails_while_the_first_runs() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    let queries = Table::of(Service::Query);
    let folder = sample(sample_name(Service::Query));
    // Blocks the first migration.
    let mut connection = test_database.connection().await;
    sqlx::raw_sql("begin; lock table queries in access exclusive mode")
        .execute(&mut connection)
        .await
        .expect("the table is locked");
    let (observer, is_locked) = signal(Step::Locked);
    let (options, transfers) = (MigrateOptions::default(), vec![transfer(folder.path(), &queries)]);
    let first = migrate::migrate(&database, transfers, &options, &observer);
    let second = async {
        is_locked.await.expect("the first locks the table");
        let refused = try_migrate(&database, folder.path(), &queries, &options).await;
        sqlx::raw_sql("rollback").execute(&mut connection).await.expect("the lock is released");
        refused.expect_err("the first is running")
    };
    let (first, refused) = tokio::join!(first, second);
    let message = refused.to_string();
    assert!(message.contains("table `queries` is locked by another migration"), "{message}");
    assert_eq!(first.expect("the first completes").outcome(), Outcome::Verified);
    assert_eq!(one::<i64>(&test_database, "select count(*) from queries").await, 61);
}

#[tokio::test]
async fn migration_that_is_dropped_at_any_step_resumes() {
    for step in Step::ALL {
        let (test_database, database) = prepared().await;
        let queries = Table::of(Service::Query);
        let folder = sample(sample_name(Service::Query));
        let options = MigrateOptions { batch_rows: 7, ..MigrateOptions::default() };
        let (observer, has_come) = signal(step);
        let transfers = vec![transfer(folder.path(), &queries)];
        tokio::select! {
            biased;
            word = has_come => word.expect("the step occurs"),
            report = migrate::migrate(&database, transfers, &options, &observer) => {
                assert_eq!(report.expect("the migration runs").outcome(), Outcome::Verified, "{step:?}");
            }
        }
        database.close().await;
        let database = store::postgres::Database::connect(&test_database.url()).await.expect("it answers");
        let report = migrate_with(&database, folder.path(), &queries, &options).await;
        assert_eq!(report.outcome(), Outcome::Verified, "{step:?}");
        assert_eq!((verified(&report).matched, verified(&report).rows), (61, 61), "{step:?}");
        let again = migrate_with(&database, folder.path(), &queries, &options).await;
        assert_eq!((copied(&again).written, copied(&again).unchanged), (0, 61), "{step:?}");
    }
}
