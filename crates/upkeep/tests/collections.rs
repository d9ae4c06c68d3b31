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

#[tokio::test]
async fn damaged_table_of_a_collection_does_not_hide_the_others() {
    let (test_database, database) = prepared().await;
    database.create_default_tenant().await.expect("it is created");
    let collections = Collections::new(database.clone());
    let damaged = collection(&collections, "damaged").await.table.expect("it has a table").name;
    let intact = collection(&collections, "intact").await.table.expect("it has a table").name;
    test_database.execute(&format!("alter table {damaged} drop column embedding")).await;
    let watched = names(&database).await;
    assert!(watched.contains(&intact) && !watched.contains(&damaged), "{watched:?}");
    let limits = upkeep::maintenance::Limits::default();
    let observed =
        upkeep::maintenance::observe(&database, &limits, None).await.expect("the others are observed");
    assert!(observed.tables.iter().any(|table| table.health.name == intact && table.vectors.is_some()));
    let wanted = upkeep::tables_and(&database, std::slice::from_ref(&damaged)).await;
    wanted.expect_err("it was asked for");
}

#[tokio::test]
async fn large_collection_gets_indexes_for_filters_and_pages() {
    let (test_database, database) = prepared().await;
    database.create_default_tenant().await.expect("it is created");
    let collections = Collections::new(database.clone());
    let table = collection(&collections, "large").await.table.expect("it has a table");
    let name = &table.name;
    test_database
        .execute(&format!(
            "insert into {name} (id, source_id, metadata, created_at, embedding)
             select gen_random_uuid(), n::text, jsonb_build_object('n', n), now(), array[sin(n), cos(n)]::vector
             from generate_series(1, 12000) n"
        ))
        .await;
    let policy = upkeep::Policy::default();
    for _ in 0..2 {
        upkeep::apply(&database, &table, &policy, &|_| {}).await.expect("its indexes are built");
    }
    let plan = async |sql: &str| test_database.texts(&format!("explain {sql}")).await.join("\n");
    let page =
        plan(&format!("select id from {name} order by position nulls first, created_at, id limit 10")).await;
    assert!(page.contains("Index") && page.contains("panopticon_position_"), "{page}");
    let filtered = plan(&format!("select id from {name} where metadata @> '{{\"n\": 7}}'")).await;
    assert!(filtered.contains("panopticon_metadata_"), "{filtered}");
}
