//! What describes collections (names, metadata, configurations) is planned, replaced, compared and undone as their records are.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use migrate::{
    CollectionReport, DatabaseState, EditedRows, Error, Event, MigrateOptions, Mode, Observer, Outcome,
    Placement, Report, Step, Target, UndoReport, VerifyOptions, WholeSource, migrate_collections, undo,
    verify_collections,
};
use records::DistanceSpace;
use store::{
    chroma::Source,
    postgres::{
        Database,
        collections::{
            CollectionName, Compared, DEFAULT_DATABASE, DEFAULT_TENANT, DescriptionKept, Registered,
            RestoredDescriptions,
        },
    },
};
use test_support::TestDatabase;
use uuid::Uuid;

use crate::{
    directory::{Directory, entries},
    one, prepared,
    served::whole,
    silent, whole_state,
};

/// Two collections, of which the first has records.
fn directory() -> Directory {
    let directory = Directory::with("docs", DistanceSpace::L2, &entries(0..3, 3));
    directory.add_collection("notes", DistanceSpace::L2);
    directory.sql("insert into collection_metadata (collection_id, key, int_value) select id, 'version', 1 from collections");
    directory
}

/// Changes name, metadata and configuration of the first collection, and the metadata of the second.
fn describe_again(directory: &Directory) {
    directory.sql(
        r#"update collections set name = 'renamed', schema_str = null,
            config_json_str = '{"vector_index": {"hnsw": {"space": "l2", "ef_search": 7}}}' where name = 'docs';
        update collection_metadata set int_value = 2"#,
    );
}

async fn migrate(database: &Database, directory: &Directory, edited_rows: EditedRows) -> Report {
    let options = MigrateOptions { edited_rows, ..MigrateOptions::default() };
    let source = Source::open(directory.path()).expect("the directory opens");
    migrate_collections(database, whole(source), &options, &silent()).await.expect("the run ends")
}

async fn verify(database: &Database, directory: &Directory) -> Report {
    let source = Source::open(directory.path()).expect("the directory opens");
    let compared = verify_collections(database, whole(source), VerifyOptions::default(), &silent()).await;
    compared.expect("it compares")
}

/// What clients see.
async fn seen(test_database: &TestDatabase) -> Vec<String> {
    one(
        test_database,
        "select array(select concat_ws('|', name, metadata, schema, table_name, dimension) from chroma_collections order by position)",
    )
    .await
}

async fn undone(database: &Database, run: Uuid, edited_rows: EditedRows) -> UndoReport {
    undo(database, run, edited_rows).await.expect("it is undone")
}

fn registered(report: &Report) -> Vec<Registered> {
    report.collections.iter().filter_map(|one| one.registered.clone()).collect()
}

/// What the second run does with the collections, in the order of their former names.
fn updated() -> [Registered; 2] {
    let parts: [&[&str]; 2] = [&["metadata"], &["name", "metadata", "configuration"]];
    parts.map(|parts| Registered::Updated(parts.to_vec()))
}

fn restored(names: &[&str]) -> RestoredDescriptions {
    RestoredDescriptions { restored: names.iter().map(|name| named(name)).collect(), kept: Vec::new() }
}

/// The collection `name` of the default database.
fn named(name: &str) -> CollectionName {
    let (tenant, database) = (DEFAULT_TENANT.to_owned(), DEFAULT_DATABASE.to_owned());
    CollectionName { tenant, database, name: name.to_owned() }
}

#[tokio::test]
async fn plan_says_what_becomes_of_descriptions_and_changes_nothing() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    let plan = async || {
        let before = whole_state(&test_database).await;
        let options = MigrateOptions { mode: Mode::DryRun, ..MigrateOptions::default() };
        let source = Source::open(directory.path()).expect("the directory opens");
        let planned = migrate_collections(&database, whole(source), &options, &silent()).await;
        assert_eq!(whole_state(&test_database).await, before);
        planned.expect("it is planned")
    };
    let planned = plan().await;
    assert_eq!((registered(&planned), planned.outcome()), (vec![Registered::Created; 2], Outcome::Planned));
    migrate(&database, &directory, EditedRows::Keep).await;
    let planned = plan().await;
    assert_eq!(registered(&planned), [Registered::Unchanged, Registered::Unchanged]);
    describe_again(&directory);
    let planned = plan().await;
    let outcomes: Vec<_> = planned.collections.iter().map(CollectionReport::outcome).collect();
    assert_eq!((registered(&planned), outcomes), (updated().to_vec(), vec![Outcome::Planned; 2]));

    // A name that another collection has, and one that becomes free.
    directory.sql("update collections set name = 'docs' where name = 'notes'");
    test_database
        .execute(
            "insert into chroma_collections (id, database_id, name, space, created_at)
            select gen_random_uuid(), database_id, 'renamed', space, created_at from chroma_collections limit 1",
        )
        .await;
    let planned = plan().await;
    assert_eq!(registered(&planned), [Registered::NameTaken, Registered::NameTaken]);
    test_database.execute("delete from chroma_collections where name = 'renamed'").await;
    let expected = [Registered::Updated(vec!["name", "metadata"]), updated()[1].clone()];
    assert_eq!(registered(&plan().await), expected);
    assert_eq!(registered(&migrate(&database, &directory, EditedRows::Keep).await), expected);
}

#[tokio::test]
async fn collection_whose_name_is_taken_is_a_conflict_and_a_difference() {
    let (test_database, database) = prepared().await;
    database.prepare_bookkeeping().await.expect("the schema is made");
    database.create_default_tenant().await.expect("it is created");
    test_database
        .execute(
            "insert into chroma_collections (id, database_id, name, space, created_at)
            select gen_random_uuid(), '00000000-0000-0000-0000-000000000000', name, 'l2', now()
            from unnest(array['docs', 'notes']) name",
        )
        .await;
    let directory = directory();
    for _ in 0..2 {
        let report = migrate(&database, &directory, EditedRows::Keep).await;
        let outcomes: Vec<_> = report.collections.iter().map(CollectionReport::outcome).collect();
        assert_eq!(registered(&report), [Registered::NameTaken, Registered::NameTaken]);
        assert_eq!(outcomes, [Outcome::Conflicts; 2]);
    }
    for compared in verify(&database, &directory).await.collections {
        assert_eq!((compared.outcome(), compared.compared), (Outcome::Different, Compared::NameTaken));
    }
    test_database.execute("delete from chroma_collections").await;
    let report = migrate(&database, &directory, EditedRows::Keep).await;
    assert_eq!(registered(&report), [Registered::Created, Registered::Created]);
    assert_eq!(verify(&database, &directory).await.outcome(), Outcome::Verified);
}

#[tokio::test]
async fn collection_that_was_deleted_here_is_missing_and_one_that_the_source_lost_is_named() {
    let (_test_database, database) = prepared().await;
    let directory = directory();
    migrate(&database, &directory, EditedRows::Keep).await;
    for name in ["docs", "notes"] {
        let deleted = database.delete_collection("default_tenant", "default_database", name).await;
        deleted.expect("it is deleted");
    }
    let compared = verify(&database, &directory).await.collections;
    for compared in &compared {
        assert_eq!((compared.outcome(), &compared.compared), (Outcome::Different, &Compared::Deleted));
    }
    let missing = &compared[0].verification.as_ref().expect("it was compared").missing;
    assert_eq!(missing, &["record 0", "record 1", "record 2"]);

    migrate(&database, &directory, EditedRows::Overwrite).await;
    directory.sql("delete from collections where name = 'docs'");
    let gone = |report: &Report| -> Vec<(String, String)> {
        let gone = report.gone.iter();
        gone.map(|gone| (gone.origin.collection.clone(), gone.table.clone())).collect()
    };
    let expected = [("docs".to_owned(), "docs".to_owned())];
    let report = migrate(&database, &directory, EditedRows::Keep).await;
    assert_eq!((gone(&report), report.outcome()), (expected.to_vec(), Outcome::NothingToMigrate));
    let compared = verify(&database, &directory).await;
    assert_eq!((gone(&compared), compared.outcome()), (expected.to_vec(), Outcome::Different));
    let source = Source::open(directory.path()).expect("the directory opens");
    let selected =
        WholeSource { is_selected: Box::new(|origin| origin.collection == "notes"), ..whole(source) };
    let compared = verify_collections(&database, selected, VerifyOptions::default(), &silent()).await;
    assert_eq!(compared.expect("it compares").gone, []);
    database.delete_collection("default_tenant", "default_database", "docs").await.expect("it is deleted");
    assert_eq!(verify(&database, &directory).await.gone, []);
}

#[tokio::test]
async fn undo_restores_names_metadata_and_configurations() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    let first = migrate(&database, &directory, EditedRows::Keep).await;
    let before = seen(&test_database).await;
    describe_again(&directory);
    // Only descriptions have changed, and then records too.
    for with_records in [false, true] {
        if with_records {
            directory.put("docs", &entries(3..5, 3));
        }
        let second = migrate(&database, &directory, EditedRows::Keep).await;
        assert_eq!(registered(&second), updated());
        let error =
            undo(&database, first.run_id, EditedRows::Keep).await.expect_err("the later one comes first");
        assert!(matches!(&error, Error::LaterRuns { later, .. } if *later == [second.run_id]), "{error}");
        let report = undone(&database, second.run_id, EditedRows::Keep).await;
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.descriptions, restored(&["renamed", "notes"]));
        assert_eq!(seen(&test_database).await, before);
        let error = undo(&database, second.run_id, EditedRows::Keep).await.expect_err("it is undone");
        assert!(matches!(error, Error::AlreadyUndone { .. } | Error::UnknownRun { .. }), "{error}");
        let again = migrate(&database, &directory, EditedRows::Keep).await;
        assert_eq!(registered(&again), updated());
        undone(&database, again.run_id, EditedRows::Keep).await;
        assert_eq!(seen(&test_database).await, before);
    }
}

/// Gives each of the collections the name of the next one, and the last one that of the first.
fn exchange(directory: &Directory, names: &[&str]) {
    directory.sql("update collections set name = 'was ' || name");
    for (one, next) in names.iter().zip(names.iter().cycle().skip(1)) {
        directory.sql(&format!("update collections set name = '{next}' where name = 'was {one}'"));
    }
    directory.sql("update collections set name = substr(name, 5) where name like 'was %'");
}

/// Checks that a second run renames the collections with the numbers `renamed`, as planned, and that it is undone.
async fn check_renamed(
    (test_database, database): (&TestDatabase, &Database),
    directory: &Directory,
    renamed: &[usize],
) {
    let before = seen(test_database).await;
    let source = || Source::open(directory.path()).expect("the directory opens");
    let options = MigrateOptions { mode: Mode::DryRun, ..MigrateOptions::default() };
    let planned = migrate_collections(database, whole(source()), &options, &silent()).await;
    let second = migrate(database, directory, EditedRows::Keep).await;
    for report in [&planned.expect("it is planned"), &second] {
        for (number, registered) in registered(report).into_iter().enumerate() {
            let expected = match renamed.contains(&number) {
                true => Registered::Updated(vec!["name"]),
                false => Registered::Unchanged,
            };
            assert_eq!(registered, expected, "{number}");
        }
    }
    assert_ne!(seen(test_database).await, before);
    let compared = verify(database, directory).await.collections;
    assert!(compared.iter().all(|one| one.compared == Compared::Equal), "{compared:?}");
    let report = undone(database, second.run_id, EditedRows::Keep).await;
    assert!(report.is_complete(), "{:?}", report.descriptions);
    assert_eq!(report.descriptions.restored.len(), renamed.len());
    assert_eq!(seen(test_database).await, before);
}

#[tokio::test]
async fn collections_that_exchange_their_names_are_carried_over_and_undone() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    directory.add_collection("other", DistanceSpace::L2);
    migrate(&database, &directory, EditedRows::Keep).await;
    for names in [&["docs", "notes"][..], &["docs", "notes", "other"]] {
        exchange(&directory, names);
        let renamed: Vec<usize> = (0..names.len()).collect();
        check_renamed((&test_database, &database), &directory, &renamed).await;
        migrate(&database, &directory, EditedRows::Keep).await;
    }
    // The last one gets a name that is free, and another one its name.
    directory.sql("update collections set name = 'free' where name = 'other'");
    directory.sql("update collections set name = 'other' where name = 'docs'");
    let outcomes = async || {
        let report = migrate(&database, &directory, EditedRows::Keep).await;
        let mut outcomes: Vec<_> = registered(&report).iter().map(Registered::as_str).collect();
        outcomes.sort_unstable();
        outcomes
    };
    assert_eq!(outcomes().await, ["unchanged", "updated", "updated"]);
    // A client keeps one of the names of an exchange.
    test_database.execute("update chroma_collections set metadata = '{}' where name = 'notes'").await;
    exchange(&directory, &["notes", "other"]);
    assert_eq!(outcomes().await, ["edited", "name_taken", "unchanged"]);
}

#[tokio::test]
async fn names_are_exchanged_by_collections_far_apart() {
    let (test_database, database) = prepared().await;
    let directory = Directory::new();
    // More than are registered at once.
    let names: Vec<String> = (0..140).map(|number| format!("collection-{number:03}")).collect();
    names.iter().for_each(|name| directory.add_collection(name, DistanceSpace::L2));
    migrate(&database, &directory, EditedRows::Keep).await;
    exchange(&directory, &[&*names[0], &*names[139], &*names[70]]);
    // The first of the others gets a name that a later one frees.
    directory.sql(&format!("update collections set name = 'free' where name = '{}'", names[130]));
    directory.sql(&format!("update collections set name = '{}' where name = '{}'", names[130], names[3]));
    let source = Source::open(directory.path()).expect("the directory opens");
    let registered = test_database.texts("select id || ' ' || name from chroma_collections").await;
    let is_renamed = |collection: &chroma::Collection| {
        !registered.contains(&format!("{} {}", collection.id, collection.name))
    };
    let all = source.collections().iter().enumerate();
    let renamed: Vec<usize> = all.filter(|(_, one)| is_renamed(one)).map(|(number, _)| number).collect();
    assert_eq!(renamed.len(), 5);
    check_renamed((&test_database, &database), &directory, &renamed).await;
}

#[tokio::test]
async fn undo_of_one_collection_of_a_run_restores_its_description() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    migrate(&database, &directory, EditedRows::Keep).await;
    let before = seen(&test_database).await;
    describe_again(&directory);
    directory.sql("update collections set name = 'docs' where name = 'renamed'");
    directory.put("docs", &entries(3..5, 3));
    let second = migrate(&database, &directory, EditedRows::Keep).await;
    let of_one = second.collections[0].run_id;
    assert_ne!(of_one, second.run_id);
    let report = undone(&database, of_one, EditedRows::Keep).await;
    assert_eq!((report.tables.len(), report.descriptions), (1, restored(&["docs"])));
    assert_eq!(seen(&test_database).await[0], before[0]);
    assert_ne!(seen(&test_database).await[1], before[1]);
    undone(&database, second.run_id, EditedRows::Keep).await;
    assert_eq!(seen(&test_database).await, before);
}

#[tokio::test]
async fn undo_keeps_what_clients_have_changed_since() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    migrate(&database, &directory, EditedRows::Keep).await;
    let before = seen(&test_database).await;
    describe_again(&directory);
    let second = migrate(&database, &directory, EditedRows::Keep).await.run_id;
    test_database
        .execute("update chroma_collections set metadata = '{\"own\": 1}' where name = 'renamed'")
        .await;
    let report = undone(&database, second, EditedRows::Keep).await;
    assert!(!report.is_complete());
    let kept = vec![(named("renamed"), DescriptionKept::Edited)];
    assert_eq!(report.descriptions, RestoredDescriptions { kept, ..restored(&["notes"]) });
    assert_eq!(seen(&test_database).await[1], before[1]);

    // Another collection has got the former name.
    test_database
        .execute(
            "insert into chroma_collections (id, database_id, name, space, created_at)
            select gen_random_uuid(), database_id, 'docs', space, created_at from chroma_collections limit 1",
        )
        .await;
    let report = undone(&database, second, EditedRows::Overwrite).await;
    assert_eq!(report.descriptions.kept, [(named("renamed"), DescriptionKept::NameTaken)]);
    test_database.execute("delete from chroma_collections where name = 'docs'").await;
    let report = undone(&database, second, EditedRows::Overwrite).await;
    assert_eq!(report.descriptions, restored(&["renamed"]));
    assert_eq!(seen(&test_database).await, before);

    // What a run has overwritten is restored too.
    test_database
        .execute("update chroma_collections set metadata = '{\"own\": 1}' where name = 'docs'")
        .await;
    let edited = seen(&test_database).await;
    let third = migrate(&database, &directory, EditedRows::Overwrite).await.run_id;
    assert_ne!(seen(&test_database).await, edited);
    undone(&database, third, EditedRows::Keep).await;
    assert_eq!(seen(&test_database).await, edited);
}

#[tokio::test]
async fn collection_that_was_deleted_and_copied_again_is_not_described_as_before() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    migrate(&database, &directory, EditedRows::Keep).await;
    describe_again(&directory);
    let second = migrate(&database, &directory, EditedRows::Keep).await.run_id;
    let tenant = ("default_tenant", "default_database");
    database.delete_collection(tenant.0, tenant.1, "notes").await.expect("it is deleted");
    migrate(&database, &directory, EditedRows::Overwrite).await;
    let expected = seen(&test_database).await[1].clone();
    let report = undone(&database, second, EditedRows::Keep).await;
    assert_eq!(report.descriptions, restored(&["renamed"]));
    assert_eq!(seen(&test_database).await[1], expected);
}

#[tokio::test]
async fn undo_of_a_run_leaves_what_another_run_has_registered() {
    let (test_database, database) = prepared().await;
    let directory = directory();
    let first = migrate(&database, &directory, EditedRows::Keep).await.run_id;
    directory.put("notes", &entries(3..5, 4));
    let second = migrate(&database, &directory, EditedRows::Keep).await;
    assert_eq!(second.collections[1].table, "notes");
    let report = undone(&database, second.run_id, EditedRows::Keep).await;
    assert_eq!(report.descriptions, restored(&[]));
    let after = seen(&test_database).await;
    assert!(after[1].starts_with("notes|") && !after[1].contains("|notes"), "it is empty again: {after:?}");
    undone(&database, first, EditedRows::Keep).await;
    assert_eq!(seen(&test_database).await, [""; 0]);
}

#[tokio::test]
async fn database_that_clients_deleted_is_not_restored_by_the_next_migration() {
    let (_test_database, database) = prepared().await;
    let directory = directory();
    directory.sql(
        "insert into databases values ('00000000-0000-0000-0000-000000000009', 'second', 'default_tenant')",
    );
    let states = |report: &Report| -> Vec<DatabaseState> {
        report.databases.iter().map(|one| one.state.clone()).collect()
    };
    let delete = async || {
        let deleted = database.delete_collection_database("default_tenant", "second").await;
        deleted.expect("it is deleted");
    };
    let created = [DatabaseState::Registered(Registered::Created)];
    let first = migrate(&database, &directory, EditedRows::Keep).await;
    assert_eq!(states(&first), created);
    delete().await;
    for _ in 0..2 {
        let report = migrate(&database, &directory, EditedRows::Keep).await;
        assert_eq!(states(&report), [DatabaseState::Registered(Registered::Deleted)]);
        assert_eq!(report.outcome(), Outcome::Conflicts);
    }
    assert_eq!(states(&verify(&database, &directory).await), [DatabaseState::Missing]);
    let restored = migrate(&database, &directory, EditedRows::Overwrite).await;
    assert_eq!(states(&restored), created);
    delete().await;
    undone(&database, restored.run_id, EditedRows::Keep).await;
    assert_eq!(states(&migrate(&database, &directory, EditedRows::Keep).await), created);
}

/// What a client does while a collection is copied.
#[derive(Clone, Copy, Debug)]
enum Deletion {
    Docs,
    Reset,
}

/// On the first batch, a client deletes, which waits for the commit.
fn deleting(database: &TestDatabase, what: Deletion) -> Observer {
    let (url, deletion) = (database.url(), Mutex::new(None));
    let delete = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let deleted = async {
            let database = Database::connect(&url).await.expect("the database answers");
            match what {
                Deletion::Docs => {
                    database.delete_collection("default_tenant", "default_database", "docs").await
                }
                Deletion::Reset => database.reset_collections().await,
            }
        };
        runtime.block_on(deleted).expect("it is deleted");
    };
    let delete = Arc::new(delete);
    let is_begun = AtomicBool::new(false);
    Arc::new(move |event| match event {
        Event::Step(Step::BatchSent) if !is_begun.swap(true, Ordering::Relaxed) => {
            let delete = delete.clone();
            *deletion.lock().expect("no panic") = Some(std::thread::spawn(move || delete()));
        }
        Event::Step(Step::BatchCommitted) => {
            let begun = deletion.lock().expect("no panic").take();
            if let Some(begun) = begun {
                begun.join().expect("it is deleted");
            }
        }
        _ => {}
    })
}

/// The rows of all tables of collections.
async fn rows(test_database: &TestDatabase) -> i64 {
    let mut rows = 0;
    for table in ["docs", "notes", "chunks"] {
        let is_there = format!("select to_regclass('{table}') is not null");
        if one(test_database, &is_there).await {
            rows += one::<i64>(test_database, &format!("select count(*) from {table}")).await;
        }
    }
    rows
}

fn targets() -> [Target; 2] {
    [Target::OwnTables, Target::Shared { table: "chunks".to_owned(), column: "of".to_owned() }]
}

/// A migration of two collections with records, during which a client deletes.
struct Interrupted {
    test_database: TestDatabase,
    database: Database,
    directory: Directory,
    report: Report,
}

impl Interrupted {
    async fn by(deletion: Deletion, target: &Target) -> Self {
        let (test_database, database) = prepared().await;
        let directory = directory();
        directory.put("notes", &entries(3..4, 3));
        let observer = deleting(&test_database, deletion);
        let report = migrate_into(&database, (&directory, target), &observer).await;
        Self { test_database, database, directory, report }
    }
}

/// Copies the collections record by record.
async fn migrate_into(
    database: &Database,
    (directory, target): (&Directory, &Target),
    observer: &Observer,
) -> Report {
    let source = whole(Source::open(directory.path()).expect("the directory opens"));
    let placement = Placement { target: target.clone(), ..source.placement };
    let options = MigrateOptions { batch_rows: 1, connections: 1, ..MigrateOptions::default() };
    let migrated = migrate_collections(database, WholeSource { placement, ..source }, &options, observer);
    migrated.await.expect("the run ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_that_is_deleted_while_it_is_copied_leaves_no_rows() {
    for target in targets() {
        let Interrupted { test_database, database, directory, report } =
            Interrupted::by(Deletion::Docs, &target).await;
        let failure = report.collections[0].failure.as_deref().expect("it was deleted");
        let Error::Store { source, .. } = failure else { panic!("{failure}") };
        assert!(matches!(**source, store::Error::DeletedMeanwhile { .. }), "{source}");
        assert_eq!(report.collections[1].outcome(), Outcome::Verified);
        assert_eq!(rows(&test_database).await, 1, "{target:?}");
        let again = migrate_into(&database, (&directory, &target), &silent()).await;
        assert_eq!(again.collections[0].registered, Some(Registered::Deleted));
        assert_eq!(again.collections[1].outcome(), Outcome::Verified);
        assert_eq!(rows(&test_database).await, 1, "{target:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_while_a_collection_is_copied_leaves_no_rows() {
    for target in targets() {
        let Interrupted { test_database, database, directory, report } =
            Interrupted::by(Deletion::Reset, &target).await;
        for collection in &report.collections[..2] {
            let Some(Error::Store { source, .. }) = collection.failure.as_deref() else {
                panic!("{collection:?}")
            };
            assert!(matches!(**source, store::Error::DeletedMeanwhile { .. }), "{source}");
        }
        assert_eq!(rows(&test_database).await, 0, "{target:?}");
        let again = migrate_into(&database, (&directory, &target), &silent()).await;
        assert_eq!((again.run_id, again.outcome()), (report.run_id, Outcome::Verified), "{again:?}");
        let records: u64 = again.collections.iter().map(CollectionReport::source_records).sum();
        assert_eq!(u64::try_from(rows(&test_database).await), Ok(records), "{target:?}");
    }
}
