//! Migration of all collections of a source in one run.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use migrate::{
    EditedRows, Error, Event, MigrateOptions, Mode, Observer, Outcome, Placement, Report, StaleRows, Step,
    Target, VerifyOptions, WholeSource, migrate_collections, undo, verify_collections,
};
use records::{DistanceSpace, Metadata};
use store::{
    chroma::Source,
    postgres::{Database, Presence, Table},
};
use tempfile::TempDir;
use test_support::{ChromaCollection, ChromaForm, ChromaRecord, ChromaWriter, TestDatabase};
use tokio::sync::oneshot;

use crate::{
    directory::{Directory, Entry, entries, vector},
    one, prepared, silent, whole_state,
};

/// More than one lot.
const MANY: usize = 130;

fn record(id: &str, dimension: usize, seed: usize) -> ChromaRecord {
    let vector = (0..dimension).map(|place| ((seed * 7 + place * 3) % 11) as f32 + 0.5).collect();
    ChromaRecord {
        id: id.to_owned(),
        vector,
        document: Some(format!("text {id}")),
        metadata: Metadata::new(),
    }
}

/// A directory of collections with these names, each with three records of the same ids. The last one has another
/// dimension.
pub(crate) fn directory(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut writer = ChromaWriter::create(folder.path());
    for (number, name) in names.iter().enumerate() {
        let dimension = if number + 1 == names.len() { 5 } else { 3 };
        let form = if number % 2 == 0 { ChromaForm::Log } else { ChromaForm::Flushed };
        let collection = ChromaCollection::new(name, DistanceSpace::L2, form);
        writer.write(&collection, (0..3).map(|id| record(&id.to_string(), dimension, number + id)));
    }
    writer.finish();
    folder
}

pub(crate) fn whole(path: &Path, target: Target) -> WholeSource {
    let source = Source::open(path).expect("the directory opens");
    let template = Table {
        name: String::new(),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: Vec::new(),
        dimension: 1,
        space: DistanceSpace::L2,
        shared: None,
    };
    let collections = source.collections().to_vec();
    WholeSource {
        empty_databases: source.empty_databases().to_vec(),
        source,
        collections,
        placement: Placement { template, target },
        is_reserved: |name| name == "runs" || name.starts_with("migration_"),
        is_selected: Box::new(|_| true),
    }
}

pub(crate) fn shared() -> Target {
    Target::Shared { table: "chunks".to_owned(), column: "collection_name".to_owned() }
}

async fn migrate_all(database: &Database, path: &Path, target: Target) -> Report {
    let options = MigrateOptions::default();
    migrate_collections(database, whole(path, target), &options, &silent()).await.expect("the run ends")
}

async fn verify_all(database: &Database, path: &Path, target: Target) -> Report {
    let options = VerifyOptions::default();
    verify_collections(database, whole(path, target), options, &silent()).await.expect("it compares")
}

fn tables(report: &Report) -> Vec<&str> {
    report.collections.iter().map(|collection| collection.table.as_str()).collect()
}

async fn count(test_database: &TestDatabase, table: &str) -> i64 {
    one(test_database, &format!("select count(*) from {}", store::postgres::quoted(table))).await
}

#[tokio::test]
async fn each_collection_gets_a_table_for_any_name_and_all_are_undone_together() {
    let (test_database, database) = prepared().await;
    database.prepare_schema().await.expect("the schema is created");
    test_database.execute("create table users (name text); create view seen as select 1 as one").await;
    let long = "web-search-".to_owned() + &"0a".repeat(32);
    let longer = "x".repeat(512);
    let names = [
        "docs",
        "Docs",
        "docs.v1",
        "queries",
        "runs",
        "migration_jobs",
        "pg_class",
        "vector",
        "users",
        "seen",
        "a b",
        "a;b",
        "日本語",
        "\"; drop table queries --",
        &long,
        &longer,
        "last",
    ];
    let folder = directory(&names);
    let before = whole_state(&test_database).await;
    let planned = MigrateOptions { mode: Mode::DryRun, ..MigrateOptions::default() };
    let own = || whole(folder.path(), Target::OwnTables);
    let report = migrate_collections(&database, own(), &planned, &silent()).await.expect("it is planned");
    assert_eq!((report.outcome(), report.collections.len()), (Outcome::Planned, names.len()));
    assert_eq!(whole_state(&test_database).await, before, "a plan changes nothing");

    let report = migrate_all(&database, folder.path(), Target::OwnTables).await;
    assert_eq!(report.outcome(), Outcome::Verified, "{report:?}");
    let made: HashSet<&str> = tables(&report).into_iter().collect();
    assert_eq!(made.len(), names.len(), "{made:?}");
    for table in &made {
        assert_eq!(count(&test_database, table).await, 3, "{table}");
    }
    for plain in ["docs", "Docs", "docs.v1", "last"] {
        assert!(made.contains(plain), "{plain}: {made:?}");
    }
    assert_eq!(count(&test_database, "queries").await + count(&test_database, "users").await, 0);
    assert_eq!(verify_all(&database, folder.path(), Target::OwnTables).await.outcome(), Outcome::Verified);
    let again = migrate_all(&database, folder.path(), Target::OwnTables).await;
    assert_eq!(tables(&again), tables(&report), "the same tables, run after run");
    let written: u64 = again.collections.iter().map(|one| one.copied.as_ref().expect("a copy").written).sum();
    assert_eq!((again.outcome(), written), (Outcome::Verified, 0));

    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("it is undone");
    assert_eq!(undone.tables.len(), names.len());
    assert!(undone.tables.iter().all(|table| table.undone.table_dropped && table.undone.removed == 3));
    let error = undo(&database, report.run_id, EditedRows::Keep).await.expect_err("it is undone already");
    assert!(matches!(error, Error::AlreadyUndone { .. }), "{error}");
    let left: i64 =
        one(&test_database, "select count(*) from pg_tables where tablename = any('{users,docs,last}')")
            .await;
    assert_eq!(left, 1);
}

#[tokio::test]
async fn shared_table_distinguishes_collections() {
    let (test_database, database) = prepared().await;
    let folder = directory(&["one", "two", "three", "wide"]);
    let report = migrate_all(&database, folder.path(), shared()).await;
    assert_eq!(report.outcome(), Outcome::Verified, "{report:?}");
    let made: BTreeMap<&str, &str> = report
        .collections
        .iter()
        .map(|collection| (collection.origin.collection.as_str(), collection.table.as_str()))
        .collect();
    assert_eq!(made["wide"], "chunks_5");
    assert!(["one", "two", "three"].iter().all(|name| made[name] == "chunks"), "{made:?}");
    assert_eq!((count(&test_database, "chunks").await, count(&test_database, "chunks_5").await), (9, 3));
    let apart: String = one(
        &test_database,
        "select string_agg(collection_name || ' ' || count, ', ' order by collection_name)
        from (select collection_name, count(distinct source_id) from chunks group by 1) counted",
    )
    .await;
    assert_eq!(apart, "one 3, three 3, two 3");
    assert_eq!(verify_all(&database, folder.path(), shared()).await.outcome(), Outcome::Verified);

    // A row of one collection is changed.
    test_database
        .execute("update chunks set document = 'edited' where collection_name = 'two' and source_id = '1'")
        .await;
    let compared = verify_all(&database, folder.path(), shared()).await;
    let different: Vec<&str> = compared
        .collections
        .iter()
        .filter(|collection| collection.outcome() == Outcome::Different)
        .map(|collection| collection.origin.collection.as_str())
        .collect();
    assert_eq!(different, ["two"]);
    let undone = undo(&database, report.run_id, EditedRows::Overwrite).await.expect("it is undone");
    assert_eq!(undone.tables.iter().map(|table| table.undone.removed).sum::<u64>(), 12);
    assert!(
        one::<bool>(
            &test_database,
            "select to_regclass('chunks') is null and to_regclass('chunks_5') is null"
        )
        .await
    );
}

#[tokio::test]
async fn lot_that_shares_a_table_is_undone_exactly() {
    let (test_database, database) = prepared().await;
    let names: Vec<String> = (0..9).map(|number| format!("file-{number}")).collect();
    let directory = Directory::new();
    for name in &names {
        directory.add_collection(name, DistanceSpace::L2);
        directory.put(name, &entries(0..4, 3));
    }
    let options = MigrateOptions {
        stale_rows: StaleRows::Delete,
        edited_rows: EditedRows::Overwrite,
        ..MigrateOptions::default()
    };
    let migrate_all = async || {
        let whole = whole(directory.path(), shared());
        let report = migrate_collections(&database, whole, &options, &silent()).await.expect("the run ends");
        assert_eq!(report.outcome(), Outcome::Verified, "{report:?}");
        report
    };
    let first = migrate_all().await;
    let times = "select count(distinct started_at) = count(*) from migration_jobs";
    assert!(one::<bool>(&test_database, times).await, "the order of the jobs is known");
    let maker = "select array_agg(created_table order by started_at) from migration_jobs";
    let made: Vec<bool> = one(&test_database, maker).await;
    assert_eq!(made.iter().position(|made| *made), Some(0), "{made:?}");
    let content = "select string_agg(to_jsonb(c)::text, E'\n' order by id) from chunks c";
    let before: String = one(&test_database, content).await;

    for name in &names {
        directory.remove(name, "record 0");
        directory.put(name, &[Entry::new("record 1", vector(50, 3)), Entry::new("new", vector(60, 3))]);
    }
    let second = migrate_all().await;
    assert_ne!(one::<String>(&test_database, content).await, before);
    let undone = undo(&database, second.run_id, EditedRows::Keep).await.expect("it is undone");
    assert!(undone.is_complete());
    assert_eq!(one::<String>(&test_database, content).await, before);
    let undone = undo(&database, first.run_id, EditedRows::Keep).await.expect("it is undone");
    let dropped: Vec<bool> = undone.tables.iter().map(|table| table.undone.table_dropped).collect();
    assert_eq!(dropped.iter().position(|dropped| *dropped), Some(0), "with the last row: {dropped:?}");
    assert!(one::<bool>(&test_database, "select to_regclass('chunks') is null").await);
}

/// An observer that signals the `count`th occurrence of a step.
fn at(step: Step, count: usize) -> (Observer, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    let (sender, seen) = (Mutex::new(Some(sender)), AtomicUsize::new(0));
    let observer: Observer = Arc::new(move |event| {
        if event == Event::Step(step) && seen.fetch_add(1, Ordering::Relaxed) + 1 == count {
            let sender = sender.lock().expect("no holder panics").take().expect("it is signalled once");
            sender.send(()).expect("the test waits for it");
        }
    });
    (observer, receiver)
}

#[tokio::test]
async fn same_command_resumes_a_run_interrupted_at_any_step() {
    let names: Vec<String> = (0..MANY).map(|number| format!("file-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let folder = directory(&names);
    for (target, step, times) in [
        (Target::OwnTables, Step::Planned, 70),
        (Target::OwnTables, Step::Begun, 2),
        (shared(), Step::Copied, 70),
    ] {
        let (test_database, database) = prepared().await;
        let (observer, reached) = at(step, times);
        let options = MigrateOptions::default();
        let run = migrate_collections(&database, whole(folder.path(), target.clone()), &options, &observer);
        tokio::select! {
            biased;
            ended = reached => ended.expect("the step comes"),
            ended = run => panic!("it was not interrupted: {ended:?}"),
        }
        let group: uuid::Uuid =
            one(&test_database, "select id from migration_groups where status = 'copying'").await;
        // Like a new process, with new connections.
        drop(database);
        let database = Database::connect(&test_database.url()).await.expect("the database answers");
        let report = migrate_all(&database, folder.path(), target.clone()).await;
        assert!(report.is_resumed, "{target:?} {step:?}");
        assert_eq!((report.run_id, report.outcome()), (group, Outcome::Verified), "{target:?} {step:?}");
        assert_eq!(report.collections.len(), MANY);
        let compared = verify_all(&database, folder.path(), target.clone()).await;
        assert_eq!(compared.outcome(), Outcome::Verified, "{target:?} {step:?}");
        let undone = undo(&database, group, EditedRows::Keep).await.expect("it is undone");
        let removed: u64 = undone.tables.iter().map(|table| table.undone.removed).sum();
        assert_eq!((undone.tables.len(), removed), (MANY, 3 * MANY as u64), "{target:?} {step:?}");
    }
}

#[tokio::test]
async fn failing_collection_is_reported_and_the_others_are_migrated() {
    let (test_database, database) = prepared().await;
    let folder = directory(&["good", "bad", "also good", "wide"]);
    let source = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("it opens");
    source
        .execute("update collections set dimension = 20000 where name = 'bad'", [])
        .expect("the copy changes");
    drop(source);
    let report = migrate_all(&database, folder.path(), Target::OwnTables).await;
    assert_eq!(report.outcome(), Outcome::Failed);
    let failed: Vec<&str> = report
        .collections
        .iter()
        .filter(|collection| collection.failure.is_some())
        .map(|collection| collection.origin.collection.as_str())
        .collect();
    assert_eq!(failed, ["bad"]);
    assert_eq!(count(&test_database, "good").await, 3);
    // After the repair, the same command migrates the rest, as part of the same run.
    let source = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("it opens");
    source.execute("update collections set dimension = 3 where name = 'bad'", []).expect("the copy changes");
    drop(source);
    let mended = migrate_all(&database, folder.path(), Target::OwnTables).await;
    assert_eq!((mended.run_id, mended.outcome()), (report.run_id, Outcome::Verified));
    let undone = undo(&database, report.run_id, EditedRows::Keep).await.expect("it is undone");
    assert_eq!(undone.tables.len(), 4);
}
