//! The tables of Chroma clients, of which there may be many thousands.

use std::sync::Arc;

use records::DistanceSpace;
use store::{
    postgres::{
        Database,
        collection_records::{Collections, RecordParts, RecordSelection, RecordWrite, WriteMode},
        collections::{Collection, DEFAULT_DATABASE, DEFAULT_TENANT, Existing, NewCollection},
        searches::{FilterClass, SearchWatch},
    },
    storage::{DocumentTest, RecordFilter},
};
use upkeep::monitor::{Monitor, MonitorConfig};

use crate::prepared;

/// A collection with a record, as clients see it.
async fn collection(collections: &Collections, name: &str) -> Collection {
    let new = NewCollection {
        tenant: DEFAULT_TENANT,
        database: DEFAULT_DATABASE,
        name,
        space: DistanceSpace::L2,
        metadata: None,
        configuration: "{}",
        schema: "{}",
    };
    let database = collections.database();
    let created = database.create_collection(&new, Existing::Refuse).await.expect("it is created");
    let record = RecordWrite {
        id: "a".to_owned(),
        embedding: Some(vec![1.0, 2.0].into()),
        document: None,
        uri: None,
        metadata: None,
    };
    collections.write(&created, &[record], WriteMode::Add).await.expect("it is written");
    let found = database.collection_named(DEFAULT_TENANT, DEFAULT_DATABASE, name).await;
    found.expect("it is read").expect("it exists")
}

async fn names(database: &Database) -> Vec<String> {
    let tables = upkeep::tables(database).await.expect("the tables are known");
    tables.into_iter().map(|table| table.name).collect()
}

#[tokio::test]
async fn table_of_a_collection_is_watched_from_its_first_record() {
    let (_test_database, database) = prepared().await;
    let database = database.watched_by(Arc::new(SearchWatch::new(1.0)));
    database.create_default_tenant().await.expect("it is created");
    let collections = Collections::new(database.clone());
    let created = collection(&collections, "articles").await;
    let table = created.table.clone().expect("a record was written").name;
    assert!(names(&database).await.contains(&table));
    let examined = upkeep::doctor::examine(&database, None).await.expect("it is examined");
    assert!(examined.tables.iter().any(|examined| examined.table.name == table), "{:?}", examined.tables);

    let vectors = [vec![1.0, 2.0].into(), vec![0.0, 1.0].into()];
    let all = RecordSelection::default();
    let filtered = RecordSelection {
        filter: Some(RecordFilter::Document(DocumentTest::Contains("x".to_owned()))),
        ..RecordSelection::default()
    };
    for selection in [&all, &filtered] {
        let searches = (&vectors[..], 10);
        let found = collections.query(&created, selection, searches, RecordParts::default()).await;
        assert_eq!(found.expect("the search runs").nearest.len(), 2);
    }
    let pass = Monitor::new(database.clone(), MonitorConfig::default()).pass().await.expect("it is made");
    let rows: Vec<_> = pass.history.iter().filter(|row| row.table == table).collect();
    let classes: Vec<_> = rows.iter().map(|row| (row.filter_class, row.searches, row.returned)).collect();
    assert_eq!(classes, [(FilterClass::None, 2, 2), (FilterClass::Text, 2, 0)]);
    assert!(rows.iter().all(|row| row.latency.is_some()), "{rows:?}");
    let recall = rows[0].recall.expect("searches were replayed");
    // The samples, and searches derived from the record.
    assert!(rows[0].replayed >= 2, "{rows:?}");
    assert_eq!(recall.mean, 1.0);
    let kept = created.table.as_ref().expect("it has a table");
    assert_eq!(database.search_samples(kept, 10).await.expect("they are read").len(), 2);
}

#[tokio::test]
async fn number_of_watched_collections_is_bounded() {
    let (test_database, database) = prepared().await;
    database.create_default_tenant().await.expect("it is created");
    let collections = Collections::new(database.clone());
    let large = collection(&collections, "large").await.table.expect("it has a table").name;
    test_database
        .execute(&format!(
            "insert into {large} (id, source_id, document, created_at, embedding)
             select gen_random_uuid(), n::text, repeat('x', 1000), now(), '[1,2]' from generate_series(1, 100) n"
        ))
        .await;
    // Like the first, but without records.
    test_database
        .execute(&format!(
            "do $$ begin
                for n in 1..300 loop
                    execute format('create table many_%s (like {large} including all)', n);
                    insert into chroma_collections
                        (id, database_id, name, dimension, space, table_name, definition, created_at)
                    select gen_random_uuid(), database_id, 'many_' || n, dimension, space, 'many_' || n, definition,
                        created_at
                    from chroma_collections where table_name = '{large}';
                end loop;
            end $$"
        ))
        .await;
    let watched = names(&database).await;
    assert_eq!(watched.len(), 203, "those of the services, and the largest");
    assert!(watched.contains(&large));
    let small: Vec<String> =
        (1..=300).map(|number| format!("many_{number}")).filter(|name| !watched.contains(name)).collect();
    let wanted = upkeep::tables_and(&database, &small[..1]).await.expect("the tables are known");
    assert!(wanted.iter().any(|table| table.name == small[0]), "it was asked for");
}
