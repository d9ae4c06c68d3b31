//! Search: order, filters, ids and metadata of the answers.

use records::Service;
use store::{
    StoredRecord,
    postgres::{Database, PostgresStorage, Table},
    storage::{Hit, Selection, Storage as _},
};

use crate::{at_angle, begin, nearest_to, prepared, record, text, write};

async fn insert(database: &Database, service: Service, records: &[StoredRecord]) {
    let table = Table::of(service);
    let job = begin(database, &table).await;
    write(database, &table, &job, records).await;
}

async fn search(database: &Database, service: Service, selection: Selection, limit: u32) -> Vec<Hit> {
    let storage = PostgresStorage::new(database.clone(), service);
    storage.search(&nearest_to(at_angle(0.0), selection, limit)).await.expect("the search runs")
}

#[tokio::test]
async fn nearest_come_first_with_their_cosine_distance() {
    let (test_database, database) = prepared().await;
    let angles = [("far", 2.0_f32), ("near", 0.1), ("middle", 1.0)];
    let records: Vec<StoredRecord> =
        angles.iter().map(|(id, angle)| record(Service::Query, id, at_angle(*angle))).collect();
    insert(&database, Service::Query, &records).await;
    test_database
        .execute("insert into queries (id, query_text, theme, embedding) values ('67e55044-10b1-426f-9247-bb680e5fe0c8', 'zero', 'own', array_fill(0, array[384])::vector)")
        .await;
    let hits = search(&database, Service::Query, Selection::default(), 10).await;
    let ids: Vec<&str> = hits.iter().map(|hit| hit.record.id.as_str()).collect();
    assert_eq!(ids, ["near", "middle", "far", "67e55044-10b1-426f-9247-bb680e5fe0c8"]);
    for ((_, angle), name) in [angles[1], angles[2], angles[0]].iter().zip(["near", "middle", "far"]) {
        let hit = hits.iter().find(|hit| hit.record.id == name).expect("it is found");
        let distance = hit.distance.expect("it has a distance");
        assert!((distance - (1.0 - f64::from(angle.cos()))).abs() < 1e-6, "{name}: {distance}");
    }
    assert_eq!(hits[3].distance, None, "no distance is defined from a zero vector");
    assert_eq!(hits[0].record.metadata["theme"], "science", "the category is among the metadata");
    assert_eq!(hits[0].record.metadata["timestamp"], "2025-01-11T00:00:00.000137");
    assert_eq!(hits[0].record.metadata["n"], 1);
    assert_eq!(search(&database, Service::Query, Selection::default(), 2).await.len(), 2);
}

#[tokio::test]
async fn filters_keep_what_is_equal_and_nothing_else() {
    let (_test_database, database) = prepared().await;
    let mut records: Vec<StoredRecord> =
        (0..4_u8).map(|n| record(Service::Judge, &n.to_string(), at_angle(f32::from(n) / 10.0))).collect();
    records[1].columns[0] = text("it's; drop table llm_outputs --");
    records[2].columns[1] = text("claude");
    insert(&database, Service::Judge, &records).await;
    let found = async |category: Option<&str>, model_id: Option<&str>| {
        let (category, model_id) = (category.map(str::to_owned), model_id.map(str::to_owned));
        let selection = Selection { category, model_id, ..Selection::default() };
        let hits = search(&database, Service::Judge, selection, 10).await;
        hits.into_iter().map(|hit| hit.record.id).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None).await, ["0", "1", "2", "3"]);
    assert_eq!(found(Some("science"), None).await, ["0", "2", "3"]);
    assert_eq!(found(Some("it's; drop table llm_outputs --"), None).await, ["1"]);
    assert_eq!(found(None, Some("claude")).await, ["2"]);
    assert_eq!(found(Some("science"), Some("gpt-4")).await, ["0", "3"]);
    assert!(found(Some("nothing"), None).await.is_empty());
}
