//! Searches that ChromaDB's index alone cannot answer.

use records::Service;
use serde_json::{Value, json};
use store::storage::{
    DocumentFilter, Effort, Filter, Hit, Search, SearchMode, Selection, Storage as _, StorageError,
};

use super::{Fixture, at_degrees, ids, record, store_all};

fn nearest_to(degrees: u32, limit: u32) -> Search {
    Search {
        selection: Selection::default(),
        mode: SearchMode::Vector(at_degrees(degrees).into()),
        limit,
        min_similarity: None,
        effort: Effort::Fast,
    }
}

fn hit_ids(hits: &[Hit]) -> Vec<String> {
    ids(hits.iter().map(|hit| &hit.record))
}

#[tokio::test]
async fn filtered_search_returns_all_matching_rows() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    // The selected records are the farthest of 3,000, and their key cannot be filtered by Chroma.
    let records: Vec<_> = (0..3_000)
        .map(|number| {
            let mut new = record(number, json!({"n": number}));
            let angle = (number as f32) * 0.03_f32.to_radians();
            let mut components = vec![0.0; records::MODEL_DIMENSION];
            (components[0], components[1]) = (angle.cos(), angle.sin());
            new.embedding = components.into();
            new
        })
        .collect();
    for batch in records.chunks(1_000) {
        store_all(storage, batch).await;
    }
    let mut search = nearest_to(0, 20);
    let hits = storage.search(&search).await.expect("hits");
    assert_eq!(hit_ids(&hits), (0..20).map(|n| format!("r{n:03}")).collect::<Vec<_>>());

    let filter = Filter::from_json(&json!({"n": {"$gte": 2_975.5}})).expect("a filter");
    search.selection.filter = Some(filter);
    let hits = storage.search(&search).await.expect("hits");
    assert_eq!(hit_ids(&hits), (2_976..2_996).map(|n| format!("r{n}")).collect::<Vec<_>>());

    let document = DocumentFilter::from_json(&json!({"$regex": "^text 29[0-9]7$"})).expect("a filter");
    search.selection = Selection { document: Some(document), ..Selection::default() };
    let hits = storage.search(&search).await.expect("hits");
    assert_eq!(hit_ids(&hits), (0..10).map(|n| format!("r29{n}7")).collect::<Vec<_>>());

    search = nearest_to(0, 2_000);
    assert_eq!(storage.search(&search).await.expect("hits").len(), 2_000);
    search.min_similarity = Some(0.999);
    let hits = storage.search(&search).await.expect("hits");
    // cos(2.56°) = 0.99900.
    assert_eq!(hits.len(), 86, "{:?}", hits.last());
}

#[tokio::test]
async fn zero_vectors_come_last_and_without_distance() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    let mut none = record(1, json!({}));
    none.embedding = vec![0.0; records::MODEL_DIMENSION].into();
    store_all(storage, &[none, record(0, json!({})), record(170, json!({}))]).await;
    let hits = storage.search(&nearest_to(0, 3)).await.expect("hits");
    assert_eq!(hit_ids(&hits), ["r000", "r170", "r001"]);
    assert_eq!(hits[2].distance, None);
    let search = Search { min_similarity: Some(-1.0), ..nearest_to(0, 3) };
    assert_eq!(hit_ids(&storage.search(&search).await.expect("hits")), ["r000", "r170"]);
}

#[tokio::test]
async fn search_by_text_names_the_storage_that_supports_it() {
    let Fixture { storage, .. } = &Fixture::new(Service::Judge).await;
    let search = Search { mode: SearchMode::Text("why".into()), ..nearest_to(0, 3) };
    let error = storage.search(&search).await.expect_err("no text search");
    assert!(matches!(&error, StorageError::Unsupported { field, .. } if field == "mode"), "{error:?}");
    assert!(error.to_string().contains("storage type `postgres`, and that of judge is"), "{error}");
}

#[tokio::test]
async fn conditions_have_chromas_meaning() {
    let Fixture { storage, .. } = &Fixture::new(Service::Query).await;
    let values = [
        json!({"k": 1}),
        json!({"k": 1.0}),
        json!({"k": true}),
        json!({"k": "1"}),
        json!({"z": 1}),
        json!({"k": [1, 2]}),
        json!({"k": [1, "x"]}),
        json!({"k": null}),
        json!({"k": 1.5}),
        json!({"k": u64::MAX}),
    ];
    let records: Vec<_> = (0..).zip(values).map(|(number, metadata)| record(number, metadata)).collect();
    store_all(storage, &records).await;
    let check = async |filter: Value, expected: &[u32]| {
        let parsed = Filter::from_json(&filter).expect("a filter");
        let selection = Selection { filter: Some(parsed), ..Selection::default() };
        let search = Search { selection, ..nearest_to(0, 100) };
        let expected: Vec<String> = expected.iter().map(|number| format!("r{number:03}")).collect();
        assert_eq!(hit_ids(&storage.search(&search).await.expect("hits")), expected, "{filter}");
    };
    check(json!({"k": 1}), &[0, 1]).await;
    check(json!({"k": 1.0}), &[0, 1]).await;
    check(json!({"k": true}), &[2]).await;
    check(json!({"k": "1"}), &[3]).await;
    check(json!({"k": {"$ne": 1}}), &[2, 3, 4, 5, 6, 7, 8, 9]).await;
    check(json!({"k": {"$nin": ["1", "2"]}}), &[0, 1, 2, 4, 5, 6, 7, 8, 9]).await;
    check(json!({"k": {"$lt": 1.5}}), &[0, 1]).await;
    check(json!({"k": {"$gt": 1}}), &[8, 9]).await;
    check(json!({"k": {"$contains": 1}}), &[5, 6]).await;
    check(json!({"k": {"$contains": "x"}}), &[6]).await;
    check(json!({"k": {"$not_contains": 2}}), &[0, 1, 2, 3, 4, 6, 7, 8, 9]).await;
    check(json!({"$or": [{"k": "1"}, {"$and": [{"z": 1}, {"k": {"$ne": 5}}]}]}), &[3, 4]).await;
}
