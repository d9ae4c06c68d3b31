//! Collections that were migrated from Chroma, as clients see and change them.

use std::{path::Path, sync::Arc};

use migrate::{
    EditedRows, MigrateOptions, Outcome, Placement, Report, Target, VerifyOptions, WholeSource,
    migrate_collections, undo, verify_collections,
};
use records::{DistanceSpace, Metadata, MetadataValue};
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    chroma::Source,
    postgres::{Database, Presence, Table, collections::Registered},
};
use test_support::{ChromaCollection, ChromaForm, ChromaRecord, ChromaWriter};
use uuid::Uuid;

use super::{Api, DEFAULT};

/// Writes a directory with these collections: a name, how many records, and their dimension.
fn directory(folder: &Path, collections: &[(&str, usize, usize)]) {
    let mut writer = ChromaWriter::create(folder);
    for (name, count, dimension) in collections {
        let record = |n: usize| ChromaRecord {
            id: n.to_string(),
            vector: (0..*dimension).map(|place| ((n * 7 + place * 3) % 101) as f32 + 1.0).collect(),
            document: Some(format!("{name} {n}")),
            metadata: Metadata::from([("n".to_owned(), MetadataValue::Int(i64::try_from(n).expect("few")))]),
        };
        let collection = ChromaCollection::new(name, DistanceSpace::L2, ChromaForm::Log);
        writer.write(&collection, (0..*count).map(record));
    }
    writer.finish();
}

fn whole(folder: &Path, target: Target) -> WholeSource {
    let source = Source::open(folder).expect("the directory opens");
    let template = Table {
        name: String::new(),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: Vec::new(),
        dimension: 1,
        space: DistanceSpace::L2,
        shared: None,
    };
    WholeSource {
        collections: source.collections().to_vec(),
        empty_databases: source.empty_databases().to_vec(),
        source,
        placement: Placement { template, target },
        is_reserved: |_| false,
        is_selected: Box::new(|_| true),
    }
}

fn shared() -> Target {
    Target::Shared { table: "chunks".to_owned(), column: "of".to_owned() }
}

impl Api {
    async fn database(&self) -> Database {
        Database::connect(&self.test_database.url()).await.expect("the database answers")
    }

    async fn migrate(&self, folder: &Path, target: Target, options: &MigrateOptions) -> Report {
        let database = self.database().await;
        let observer = silent();
        let migrated = migrate_collections(&database, whole(folder, target), options, &observer);
        Box::pin(migrated).await.expect("the run ends")
    }

    async fn verify(&self, folder: &Path, target: Target) -> Report {
        let database = self.database().await;
        let options = VerifyOptions::default();
        let observer = silent();
        let compared = verify_collections(&database, whole(folder, target), options, &observer);
        Box::pin(compared).await.expect("it compares")
    }

    async fn undone(&self, run: Uuid) {
        let undone = undo(&self.database().await, run, EditedRows::Keep).await.expect("it is undone");
        assert!(undone.is_complete(), "{undone:?}");
    }

    /// The path of a collection.
    async fn named(&self, name: &str) -> String {
        let collection = self.get(&format!("{DEFAULT}/collections/{name}")).await.json();
        format!("{DEFAULT}/collections/{}", collection["id"].as_str().expect("it has an id"))
    }

    /// How many rows a table has.
    async fn rows(&self, table: &str) -> String {
        self.test_database.texts(&format!("select count(*)::text from {table}")).await.remove(0)
    }

    async fn count(&self, collection: &str) -> Value {
        self.get(&format!("{collection}/count")).await.json()
    }
}

fn silent() -> migrate::Observer {
    Arc::new(|_| {})
}

/// The outcome of each collection.
fn outcomes(report: &Report) -> Vec<Outcome> {
    report.collections.iter().map(migrate::CollectionReport::outcome).collect()
}

#[tokio::test]
async fn collections_in_a_shared_table_are_served_apart() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    directory(folder.path(), &[("large", 900, 3), ("small", 40, 3), ("wide", 40, 5)]);
    let index_policy = upkeep::Policy { index_type: upkeep::IndexType::Hnsw, ..upkeep::Policy::default() };
    let options = MigrateOptions { index_policy, ..MigrateOptions::default() };
    let report = api.migrate(folder.path(), shared(), &options).await;
    assert_eq!(outcomes(&report), [Outcome::Verified; 3], "{report:?}");
    let tables: Vec<&str> = report.collections.iter().map(|one| one.table.as_str()).collect();
    assert_eq!(tables, ["chunks", "chunks", "chunks_5"]);
    let (large, small, wide) = (api.named("large").await, api.named("small").await, api.named("wide").await);

    // What is read is of one collection, in its order, whether it is found by the index or not.
    for (path, count) in [(&large, 900), (&small, 40), (&wide, 40)] {
        assert_eq!(api.count(path).await, json!(count));
        let all: Vec<String> = (0..count).map(|n: usize| n.to_string()).collect();
        assert_eq!(api.ids(path, json!({})).await, json!(all));
        assert_eq!(api.ids(path, json!({"limit": 2, "offset": 30})).await, json!(["30", "31"]));
        assert_eq!(api.ids(path, json!({"where": {"n": 7}})).await, json!(["7"]));
    }
    for (path, name) in [(&large, "large"), (&small, "small")] {
        for condition in [Value::Null, json!({"n": {"$gte": 1}})] {
            let body = json!({"query_embeddings": [[1, 4, 7]], "n_results": 30, "where": condition});
            let found = api.done(&format!("{path}/query"), body).await;
            let documents = found["documents"][0].as_array().expect("a list").clone();
            assert_eq!(documents.len(), 30);
            let is_own = |document: &Value| document.as_str().is_some_and(|text| text.starts_with(name));
            assert!(documents.iter().all(is_own), "{documents:?}");
        }
    }

    // What is written is of one collection.
    let record = |document: &str| json!({"ids": ["0", "new"], "embeddings": [[9, 9, 9], [9, 9, 9]], "documents": [document, document]});
    api.done(&format!("{small}/add"), record("added")).await;
    api.done(&format!("{large}/upsert"), record("upserted")).await;
    let documents = async |path: &str| {
        let body = json!({"ids": ["0", "new"], "include": ["documents"]});
        api.done(&format!("{path}/get"), body).await["documents"].take()
    };
    assert_eq!(documents(&small).await, json!(["small 0", "added"]));
    assert_eq!(documents(&large).await, json!(["upserted", "upserted"]));
    let all_below = json!({"where": {"n": {"$lt": 10}}});
    assert_eq!(api.done(&format!("{small}/delete"), all_below.clone()).await, json!({"deleted": 10}));
    let first = json!({"where": {"n": {"$lt": 20}}, "limit": 3});
    assert_eq!(api.done(&format!("{small}/delete"), first).await, json!({"deleted": 3}));
    assert_eq!((api.count(&small).await, api.count(&large).await), (json!(28), json!(901)));
    assert_eq!(api.post(&format!("{wide}/add"), record("x")).await.status, 400, "it has five dimensions");

    // The whole table is still compared and migrated.
    let compared = api.verify(folder.path(), shared()).await;
    assert_eq!(outcomes(&compared), [Outcome::Different, Outcome::Different, Outcome::Verified]);

    // A deleted collection takes only its own rows.
    let deleted = api.send(Method::DELETE, &format!("{DEFAULT}/collections/small"), None).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(api.count(&large).await, json!(901));
    assert_eq!(api.rows("chunks").await, "901");
    let database = api.send(Method::DELETE, DEFAULT, None).await;
    assert_eq!(database.status, 200);
    assert_eq!([api.rows("chunks").await, api.rows("chunks_5").await], ["0", "0"]);
}

#[tokio::test]
async fn collection_whose_records_clients_added_stays_where_they_are() {
    let api = Api::start().await;
    let (empty, full) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    directory(empty.path(), &[("docs", 0, 3)]);
    directory(full.path(), &[("docs", 5, 3)]);
    let options = MigrateOptions::default();
    api.migrate(empty.path(), shared(), &options).await;
    let docs = api.named("docs").await;
    api.done(&format!("{docs}/add"), json!({"ids": ["own"], "embeddings": [[1, 2, 3]]})).await;
    let report = api.migrate(full.path(), shared(), &options).await;
    let reason = report.collections[0].registered.as_ref().and_then(|registered| registered.reason());
    assert_eq!(reason, Some(IN_ANOTHER_TABLE));
    assert_eq!(api.ids(&docs, json!({})).await, json!(["own"]));
    assert_eq!(api.rows("chunks").await, "5", "they were copied nevertheless");
}

#[tokio::test]
async fn copy_in_another_table_hides_nothing_of_what_clients_have_changed() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    directory(folder.path(), &[("docs", 5, 3)]);
    let options = MigrateOptions::default();
    let first = api.migrate(folder.path(), Target::OwnTables, &options).await.run_id;
    let docs = api.named("docs").await;
    api.done(&format!("{docs}/update"), json!({"ids": ["0"], "documents": ["edited"]})).await;
    api.done(&format!("{docs}/delete"), json!({"ids": ["1"]})).await;
    let seen = async || api.done(&format!("{docs}/get"), json!({"include": ["documents"]})).await;
    let before = seen().await;
    let trial = api.migrate(folder.path(), shared(), &options).await;
    let reason = trial.collections[0].registered.as_ref().and_then(|registered| registered.reason());
    assert_eq!((reason, seen().await), (Some(IN_ANOTHER_TABLE), before.clone()));
    api.undone(trial.run_id).await;
    assert_eq!(seen().await, before, "the trial is undone, and nothing else");

    // Without the first, clients see the second.
    undo(&api.database().await, first, EditedRows::Overwrite).await.expect("it is undone");
    api.migrate(folder.path(), shared(), &options).await;
    let docs = api.named("docs").await;
    assert_eq!((api.count(&docs).await, api.rows("chunks").await), (json!(5), "5".to_owned()));
}

#[tokio::test]
async fn interrupted_run_is_completed_after_a_client_has_deleted_its_collection() {
    for options in [MigrateOptions::default(), overwriting()] {
        let api = Api::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        directory(folder.path(), &[("docs", 5, 3), ("others", 2, 3)]);
        api.migrate(folder.path(), Target::OwnTables, &MigrateOptions::default()).await;
        // As a killed run leaves them.
        for table in ["migration_jobs", "migration_groups"] {
            api.test_database.execute(&format!("update {table} set status = 'copying'")).await;
        }
        let docs = format!("{DEFAULT}/collections/docs");
        assert_eq!(api.send(Method::DELETE, &docs, None).await.status, 200);
        let report = api.migrate(folder.path(), Target::OwnTables, &options).await;
        assert!(report.is_resumed);
        let others = api.named("others").await;
        assert_eq!(api.count(&others).await, json!(2));
        if options.edited_rows == EditedRows::Keep {
            let deleted: Vec<&str> = conflicts(&report).into_iter().map(|(_, reason)| reason).collect();
            assert_eq!((deleted, api.get(&docs).await.status), (vec!["deleted_here"; 5], 404));
        } else {
            assert_eq!(outcomes(&report), [Outcome::Verified; 2]);
            let docs = api.named("docs").await;
            assert_eq!(api.count(&docs).await, json!(5));
        }
        let again = api.migrate(folder.path(), Target::OwnTables, &MigrateOptions::default()).await;
        assert!(!again.is_resumed, "it is complete");
    }
}

/// What a run says of a collection that clients see elsewhere.
const IN_ANOTHER_TABLE: &str = "clients see it in another table: undo the run that filled that one first";

/// The conflicts of the first collection: ids and reasons.
fn conflicts(report: &Report) -> Vec<(String, &'static str)> {
    let copied = report.collections[0].copied.as_ref().expect("it was copied");
    copied.conflicts.iter().map(|conflict| (conflict.shown_id(), conflict.reason.as_str())).collect()
}

fn overwriting() -> MigrateOptions {
    MigrateOptions { edited_rows: EditedRows::Overwrite, ..MigrateOptions::default() }
}

#[tokio::test]
async fn texts_that_look_escaped_replace_escaped_ones_exactly() {
    // How texts with NUL are stored.
    let text = "\u{10fffe}0";
    for target in [Target::OwnTables, shared()] {
        let (api, folder) = (Api::start().await, tempfile::tempdir().expect("a folder"));
        let mut writer = ChromaWriter::create(folder.path());
        let record = ChromaRecord {
            id: "a".to_owned(),
            vector: vec![1.0, 2.0],
            document: Some(text.to_owned()),
            metadata: Metadata::from([("x".to_owned(), MetadataValue::Text(text.to_owned()))]),
        };
        writer
            .write(&ChromaCollection::new("docs", DistanceSpace::L2, ChromaForm::Log), [record].into_iter());
        writer.finish();
        api.migrate(folder.path(), target.clone(), &MigrateOptions::default()).await;
        let docs = api.named("docs").await;
        let read =
            async || api.done(&format!("{docs}/get"), json!({"include": ["documents", "metadatas"]})).await;
        let migrated = read().await;
        assert_eq!((&migrated["documents"][0], &migrated["metadatas"][0]["x"]), (&json!(text), &json!(text)));
        api.done(&format!("{docs}/update"), json!({"ids": ["a"], "documents": ["nul: \0"]})).await;
        assert_eq!(read().await["documents"][0], "nul: \0");
        let report = api.migrate(folder.path(), target, &overwriting()).await;
        assert_eq!(outcomes(&report), [Outcome::Verified]);
        assert_eq!(read().await, migrated);
    }
}

#[tokio::test]
async fn records_that_clients_deleted_are_not_restored_by_the_next_migration() {
    for target in [Target::OwnTables, shared()] {
        let api = Api::start().await;
        let (first, later) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        // Times of records follow from how many were written before.
        directory(first.path(), &[("others", 8, 3), ("docs", 8, 3)]);
        directory(later.path(), &[("others", 8, 3), ("docs", 9, 3)]);
        let options = MigrateOptions::default();
        let run = api.migrate(first.path(), target.clone(), &options).await.run_id;
        let docs = api.named("docs").await;
        let delete = format!("{docs}/delete");
        assert_eq!(api.done(&delete, json!({"ids": ["1", "2", "none"]})).await, json!({"deleted": 2}));
        let first_of = json!({"where": {"n": {"$gte": 4}}, "limit": 1});
        assert_eq!(api.done(&delete, first_of).await, json!({"deleted": 1}));
        api.done(&format!("{docs}/add"), json!({"ids": ["2"], "embeddings": [[5, 5, 5]]})).await;

        let expected = |ids: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
            ids.iter().map(|(id, reason)| ((*id).to_owned(), *reason)).collect()
        };
        let kept = [("1", "deleted_here"), ("2", "born_in_postgresql"), ("4", "deleted_here")];
        for source in [&first, &first, &later] {
            let report = api.migrate(source.path(), target.clone(), &options).await;
            assert_eq!(outcomes(&report), [Outcome::Conflicts, Outcome::Verified], "{report:?}");
            // That of a shared table is seen when it is written only.
            let mut found = conflicts(&report);
            found.sort_unstable();
            assert_eq!(found, expected(&kept));
        }
        assert_eq!(api.ids(&docs, json!({})).await, json!(["0", "3", "5", "6", "7", "2", "8"]));
        let compared = api.verify(later.path(), target.clone()).await;
        let missing = &compared.collections[0].verification.as_ref().expect("it was compared").missing;
        assert_eq!(missing, &["1", "4"]);

        let restored = api.migrate(later.path(), target.clone(), &overwriting()).await;
        assert_eq!(conflicts(&restored), expected(&kept[1..2]));
        let again = api.migrate(later.path(), target.clone(), &options).await;
        assert_eq!(conflicts(&again), expected(&kept[1..2]), "they stay");
        assert_eq!(api.count(&docs).await, json!(9));

        // What an undone run wrote is copied again.
        api.done(&delete, json!({"ids": ["3"]})).await;
        for run in [restored.run_id, run] {
            api.undone(run).await;
        }
        let again = api.migrate(first.path(), target.clone(), &options).await;
        assert!(conflicts(&again).iter().all(|(_, reason)| *reason == "born_in_postgresql"), "{again:?}");
    }
}

#[tokio::test]
async fn collections_that_clients_deleted_are_not_restored_by_the_next_migration() {
    for target in [Target::OwnTables, shared()] {
        let api = Api::start().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        directory(folder.path(), &[("docs", 5, 3), ("empty", 0, 3), ("others", 5, 3)]);
        let options = MigrateOptions::default();
        let first = api.migrate(folder.path(), target.clone(), &options).await;
        let delete_both = async || {
            for name in ["docs", "empty"] {
                let path = format!("{DEFAULT}/collections/{name}");
                assert_eq!(api.send(Method::DELETE, &path, None).await.status, 200);
            }
        };
        let all = [Outcome::Verified, Outcome::NothingToMigrate, Outcome::Verified];
        assert_eq!(outcomes(&first), all, "{first:?}");
        delete_both().await;
        for _ in 0..2 {
            let report = api.migrate(folder.path(), target.clone(), &options).await;
            assert_eq!(
                outcomes(&report),
                [Outcome::Conflicts, Outcome::Conflicts, Outcome::Verified],
                "{report:?}"
            );
            let registered =
                report.collections.iter().filter(|one| one.registered == Some(Registered::Deleted));
            assert_eq!(registered.count(), 2);
            let every = (0..5).map(|n| (n.to_string(), "deleted_here"));
            assert_eq!(conflicts(&report), every.collect::<Vec<_>>());
            assert_eq!(api.get(&format!("{DEFAULT}/collections/docs")).await.status, 404);
        }
        // A collection of the name is another one.
        api.collection(json!({"name": "docs"})).await;
        let report = api.migrate(folder.path(), target.clone(), &options).await;
        assert_eq!(report.collections[0].registered, Some(Registered::Deleted));
        let path = format!("{DEFAULT}/collections/docs");
        assert_eq!(api.send(Method::DELETE, &path, None).await.status, 200);

        let restored = api.migrate(folder.path(), target.clone(), &overwriting()).await;
        assert_eq!(outcomes(&restored), all, "{restored:?}");
        let docs = api.named("docs").await;
        assert_eq!(api.count(&docs).await, json!(5));
        let again = api.migrate(folder.path(), target.clone(), &options).await;
        assert_eq!(outcomes(&again), all);

        // A run whose collection was deleted here can be undone, and is copied again.
        delete_both().await;
        for run in [restored.run_id, first.run_id] {
            api.undone(run).await;
        }
        let again = api.migrate(folder.path(), target.clone(), &options).await;
        assert_eq!(outcomes(&again), all, "{again:?}");
        delete_both().await;
        assert_eq!(api.send(Method::POST, "/api/v2/reset", None).await.status, 200);
        let again = api.migrate(folder.path(), target.clone(), &options).await;
        assert_eq!(outcomes(&again), all, "nothing is left of what was deleted before a reset: {again:?}");
    }
}
