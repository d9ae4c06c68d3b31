//! The messages of searches in a database with Citus. Citus itself is not needed: without it, PostgreSQL stores its settings.

use records::Service;
use store::{
    postgres::{
        Database, PostgresStorage,
        collection_records::{Collections, RecordParts, RecordSelection, RecordWrite, WriteMode},
    },
    storage::{Atomicity, Change, Effort, Filter, Search, SearchMode, Selection, Start, Storage as _},
};
use test_support::{CuttingProxy, TestDatabase};

use super::{collection_of_queries, new, register};
use crate::{at_angle, nearest_to};

/// Settings that may be sent with another statement: they limit it, and change nothing on the workers.
const LIMITS: [&str; 3] = ["statement_timeout", "lock_timeout", "client_connection_check_interval"];

/// A database with indexed records that seems to have Citus, and a proxy in front of it.
async fn recorded() -> (TestDatabase, CuttingProxy, Database) {
    let test_database = TestDatabase::prepared().await;
    test_database.pretend_to_have_citus().await;
    let proxy = CuttingProxy::recording(&test_database.url());
    let database = Database::connect(proxy.url()).await.expect("the database answers");
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let records: Vec<_> = (0..50).map(new).collect();
    storage.insert(&records, Atomicity::AllOrNothing).await.expect("the records are stored");
    test_database.execute("create index on queries using hnsw (embedding vector_cosine_ops)").await;
    (test_database, proxy, database)
}

#[tokio::test]
async fn search_by_an_index_sends_its_settings_alone_between_two_other_messages() {
    let (_test_database, proxy, database) = recorded().await;
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let search = nearest_to(at_angle(0.3), Selection::default(), 7);
    proxy.take_statements();
    assert_eq!(storage.search(&search).await.expect("the search runs").len(), 7);
    let sent = proxy.take_statements();
    // It may look at the index before.
    let begin = sent.iter().rposition(|message| message.starts_with("begin")).expect("a transaction begins");
    let [begin, settings, search] = &sent[begin..] else { panic!("three messages: {sent:#?}") };
    assert!(begin.starts_with("begin read only; set local "), "{begin}");
    assert!(begin.ends_with("; set local citus.propagate_set_commands = 'local'"), "{begin}");
    assert!(settings.split("; ").all(|setting| setting.starts_with("set local ")), "{settings}");
    assert!(settings.contains("set local hnsw.ef_search = "), "{settings}");
    assert!(search.starts_with("select") && search.ends_with("; commit"), "{search}");
    assert!(search.contains("<=>") && !search.contains("set local"), "{search}");
    database.close().await;
}

#[tokio::test]
async fn settings_that_apply_on_workers_are_in_no_message_with_another_statement() {
    let (_test_database, proxy, database) = recorded().await;
    use_services(&database).await;
    use_chroma(&database).await;
    database.close().await;
    let sent = proxy.take_statements();
    let broken: Vec<&String> = sent.iter().filter(|message| !is_sound(message)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let settings = sent.iter().filter(|message| message.starts_with("set local hnsw.ef_search")).count();
    assert!(settings >= 4, "searches by the index are among them: {sent:#?}");
}

/// Reads, searches and writes of a service.
async fn use_services(database: &Database) {
    let storage = PostgresStorage::new(database.clone(), Service::Query);
    let filter = |json| Selection {
        filter: Some(Filter::from_json(&json).expect("it is a filter")),
        ..Selection::default()
    };
    let some = filter(serde_json::json!({"n": {"$gt": 20}}));
    for selection in [Selection::default(), some] {
        let vector = at_angle(0.3);
        for mode in [
            SearchMode::Vector(vector.clone().into()),
            SearchMode::Text("falling leaves".to_owned()),
            SearchMode::Hybrid { embedding: vector.clone().into(), text: "leaves 12".to_owned() },
        ] {
            for effort in [Effort::Fast, Effort::Exact] {
                let base = nearest_to(vector.clone(), selection.clone(), 7);
                let search = Search { mode: mode.clone(), effort, ..base };
                storage.search(&search).await.expect("the search runs");
            }
        }
        storage.list(&selection, Start::Offset(3), 10).await.expect("they are listed");
        storage.count(&selection).await.expect("they are counted");
    }
    storage.categories().await.expect("they are listed");
    let change = Change { text: Some(("another".to_owned(), at_angle(0.9).into())), ..Change::default() };
    storage.update("id 3", &change).await.expect("the record changes");
    storage.get(&["id 3".to_owned()]).await.expect("it is read");
    storage.delete(&["id 4".to_owned(), "id 5".to_owned()]).await.expect("they are deleted");
    storage.insert(&[new(60)], Atomicity::Each).await.expect("it is stored");
}

/// Reads, searches and writes of a Chroma client in the collection of a service.
async fn use_chroma(database: &Database) {
    register(database).await;
    let collections = Collections::new(database.clone());
    let record = |number: u16| RecordWrite {
        id: format!("chroma {number}"),
        embedding: Some(at_angle(f32::from(number) / 30.0).into()),
        document: Some(format!("text {number}")),
        uri: None,
        metadata: Some(serde_json::Map::from_iter([("theme".to_owned(), "art".into())])),
    };
    for mode in [WriteMode::Add, WriteMode::Upsert, WriteMode::Update] {
        let records: Vec<RecordWrite> = (0..5).map(record).collect();
        collections
            .write(&collection_of_queries(database).await, &records, mode)
            .await
            .expect("they are written");
    }
    let collection = collection_of_queries(database).await;
    let of_id =
        RecordSelection { ids: Some(vec!["chroma 1".to_owned(), "chroma 2".to_owned()]), filter: None };
    for selection in [RecordSelection::default(), of_id.clone()] {
        let vectors = [at_angle(0.0).into(), at_angle(0.31).into()];
        let parts = RecordParts::default();
        collections.query(&collection, &selection, (&vectors, 4), parts).await.expect("the search runs");
        collections.get(&collection, &selection, parts, (Some(5), 2)).await.expect("they are read");
    }
    collections.count(&collection).await.expect("they are counted");
    collections.delete(&collection, &of_id, None).await.expect("they are deleted");
    collections.delete(&collection, &RecordSelection::default(), Some(2)).await.expect("they are deleted");
}

/// Whether a message can be sent to workers: Citus sends each with a setting as a whole.
fn is_sound(message: &str) -> bool {
    let statements = || message.split("; ").map(str::trim);
    let is_limit =
        |statement: &str| LIMITS.iter().any(|limit| statement.starts_with(&format!("set local {limit} = ")));
    let is_setting = |statement: &str| statement.starts_with("set local ");
    // Settings apply on workers only after this message.
    let begins = message.starts_with("begin") && message.ends_with("citus.propagate_set_commands = 'local'");
    begins
        || statements().all(is_setting)
        || statements().filter(|statement| is_setting(statement)).all(is_limit)
}

#[test]
fn messages_with_settings_among_other_statements_are_found() {
    for (message, expected) in [
        ("begin; set local a.b = 1; set local citus.propagate_set_commands = 'local'", true),
        ("set local hnsw.ef_search = 40; set local jit = off", true),
        ("set local statement_timeout = 30000; set local lock_timeout = 5000; select 1", true),
        ("select 1; commit", true),
        ("set local hnsw.ef_search = 40; select 1", false),
        ("begin; set local hnsw.ef_search = 40", false),
        ("select 1; set local hnsw.ef_search = 40", false),
    ] {
        assert_eq!(is_sound(message), expected, "{message}");
    }
}
