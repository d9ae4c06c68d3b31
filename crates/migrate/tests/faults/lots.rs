//! Faults while the jobs of a lot are completed together.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use migrate::{Error, Event, MigrateOptions, Observer, Outcome, Report, Step, Target, migrate_collections};
use store::postgres::Database;
use test_support::{CuttingProxy, TestDatabase};

use super::{commits::COMMIT, count, crash_child, no_observer, order};
use crate::whole::{directory, shared, whole};

const NAMES: [&str; 5] = ["one", "two", "three", "four", "wide"];
const RECORDS: u64 = 3;
const LOT: u64 = NAMES.len() as u64;
async fn migrate(path: &Path, url: &str, target: Target, observer: &Observer) -> Result<Report, Error> {
    let database = Database::connect(url).await?;
    let options = MigrateOptions::default();
    let report = Box::pin(migrate_collections(&database, whole(path, target), &options, observer)).await;
    database.close().await;
    report
}

/// Does nothing, unless another test started this one in a child process.
#[tokio::test]
async fn child_process_that_dies_at_a_step_of_a_lot() {
    let Some((path, url, observer)) = order() else { return };
    migrate(&path, &url, Target::OwnTables, &observer).await.expect("it runs until it is aborted");
}

/// Does nothing, unless another test started this one in a child process.
#[tokio::test]
async fn child_process_that_dies_at_a_step_of_a_lot_in_one_table() {
    let Some((path, url, observer)) = order() else { return };
    migrate(&path, &url, shared(), &observer).await.expect("it runs until it is aborted");
}

async fn completed(database: &TestDatabase) -> u64 {
    let jobs = "select count(*) from migration_jobs where status = 'complete'";
    count(&mut database.connection().await, jobs).await
}

/// Resumes to the end, and checks that everything is complete and nothing is there twice.
async fn resumes_to_the_end(path: &Path, database: &TestDatabase, target: Target) {
    let report = migrate(path, &database.url(), target, &no_observer()).await.expect("it resumes");
    assert_eq!((report.is_resumed, report.outcome()), (true, Outcome::Verified));
    let matched: u64 = report
        .collections
        .iter()
        .map(|one| one.verification.as_ref().expect("it was compared").matched)
        .sum();
    assert_eq!(matched, LOT * RECORDS);
    assert_eq!(completed(database).await, LOT);
    let mut connection = database.connection().await;
    assert_eq!(count(&mut connection, "select count(*) from migration_jobs").await, LOT);
    let written = "select count(*) from migration_jobs where written = 3 and updated = 0 and deleted = 0";
    assert_eq!(count(&mut connection, written).await, LOT);
    let group = "select count(*) from migration_groups where status = 'complete'";
    assert_eq!(count(&mut connection, group).await, 1);
}

#[tokio::test]
async fn process_killed_before_or_after_a_lot_is_completed_resumes() {
    let folder = directory(&NAMES);
    for (child, target) in [
        ("faults::lots::child_process_that_dies_at_a_step_of_a_lot", Target::OwnTables),
        ("faults::lots::child_process_that_dies_at_a_step_of_a_lot_in_one_table", shared()),
    ] {
        for (step, nth, complete) in [(Step::Verified, NAMES.len(), 0), (Step::Complete, 1, LOT)] {
            let database = TestDatabase::create().await;
            assert!(crash_child(child, (folder.path(), &database.url()), step, nth).await, "{step:?} occurs");
            assert_eq!(completed(&database).await, complete, "{step:?}");
            resumes_to_the_end(folder.path(), &database, target.clone()).await;
        }
    }
}

#[tokio::test]
async fn connection_lost_while_a_lot_is_completed_leaves_all_or_none_complete() {
    let folder = directory(&NAMES);
    let whole_message = COMMIT.len() as u64;
    for delivered in [1, whole_message - 1, whole_message] {
        let database = TestDatabase::create().await;
        let proxy = Arc::new(CuttingProxy::start(&database.url()));
        let (cutting, verified) = (proxy.clone(), AtomicUsize::new(0));
        let observer: Observer = Arc::new(move |event| {
            if event == Event::Step(Step::Verified)
                && verified.fetch_add(1, Ordering::Relaxed) + 1 == NAMES.len()
            {
                cutting.cut_within(COMMIT, delivered);
            }
        });
        let error = migrate(folder.path(), proxy.url(), shared(), &observer).await;
        let error = error.expect_err("the network fails");
        assert!(matches!(error, Error::Store { .. } | Error::Database(_)), "{error}");
        assert_eq!(proxy.counters().resets, 1);
        let completed = completed(&database).await;
        assert!([0, LOT].contains(&completed), "{completed}");
        resumes_to_the_end(folder.path(), &database, shared()).await;
    }
}

#[tokio::test]
async fn job_of_a_lot_that_another_process_has_taken_over_is_reported_and_left_to_it() {
    let (folder, database) = (directory(&NAMES), TestDatabase::prepared().await);
    Database::connect(&database.url())
        .await
        .expect("the database answers")
        .prepare_bookkeeping()
        .await
        .expect("the bookkeeping is created");
    database
        .execute(
            "create function take_over() returns trigger language plpgsql as $$ begin
                update migration_jobs set holder = gen_random_uuid() where id = new.id; return null; end $$;
            create trigger take_over after update of written on migration_jobs
                for each row when (new.collection = 'two') execute function take_over()",
        )
        .await;
    let error = migrate(folder.path(), &database.url(), Target::OwnTables, &no_observer()).await;
    let error = error.expect_err("another process works on it");
    assert!(error.to_string().contains("`two`"), "{error}");
    let mut connection = database.connection().await;
    let left = "select count(*) from migration_jobs where status = 'copying' and collection = 'two'";
    assert_eq!((completed(&database).await, count(&mut connection, left).await), (LOT - 1, 1));
    database.execute("drop trigger take_over on migration_jobs").await;
    resumes_to_the_end(folder.path(), &database, Target::OwnTables).await;
}
