//! Existing collections, created by old services or by others.

use records::Service;
use serde_json::{Value, json};
use store::{
    chroma::{ChromaStorage, ServerOptions},
    storage::{CategoryCount, Effort, Search, SearchMode, Selection, Start, Storage as _},
};
use test_support::ChromaServer;

use super::{at_degrees, ids, open, record, store_all};
use crate::chroma_server::DATABASE;

/// Makes a collection as a client of Chroma does, and gives its path.
fn create(server: &ChromaServer, name: &str, space: &str) -> String {
    let body = json!({"name": name, "metadata": {"hnsw:space": space}}).to_string();
    let answer: Value =
        serde_json::from_str(&server.post(&format!("{DATABASE}/collections"), &body)).expect("JSON");
    format!("{DATABASE}/collections/{}", answer["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn records_without_the_services_keys_are_those_of_an_unknown_category() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let server = ChromaServer::start(directory.path());
    let path = create(&server, "queries", "cosine");
    let body = json!({
        "ids": ["bare", "number", "full"],
        "embeddings": [at_degrees(0), at_degrees(1), at_degrees(2)],
        "documents": [null, "five", "full"],
        "metadatas": [null, {"theme": 5}, {"theme": "physics", "timestamp": "2025-01-11T10:20:30.5"}],
    });
    server.post(&format!("{path}/add"), &body.to_string());
    let storage = open(&server, Service::Query).await;
    let categories: Vec<(Option<String>, u64)> = storage
        .categories()
        .await
        .expect("categories")
        .into_iter()
        .map(|CategoryCount { category, records }| (category, records))
        .collect();
    assert_eq!(categories, ["5", "physics", "unknown"].map(|category| (Some(category.to_owned()), 1)));
    for (category, expected) in [("unknown", "bare"), ("5", "number"), ("physics", "full")] {
        let selection = Selection { category: Some(category.into()), ..Selection::default() };
        let listed = storage.list(&selection, Start::Offset(0), 9).await.expect("a list");
        assert_eq!(ids(&listed), [expected]);
        assert_eq!(storage.count(&selection).await.expect("a count"), 1);
    }
    let bare = storage.get(&["bare".into()]).await.expect("it is read").remove(0);
    assert_eq!((bare.text.as_str(), bare.created_at), ("", None));
    assert_eq!(Value::Object(bare.metadata), json!({"theme": "unknown"}));
}

#[tokio::test]
async fn collection_of_another_space_is_searched_by_cosine_distance() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let server = ChromaServer::start(directory.path());
    create(&server, "queries", "l2");
    let storage = open(&server, Service::Query).await;
    // By Euclidean distance the long vector would be the farther one.
    let mut long = record(10, json!({}));
    long.embedding = at_degrees(10).into_iter().map(|x| x * 50.0).collect::<Vec<_>>().into();
    store_all(&storage, &[long, record(20, json!({}))]).await;
    let search = Search {
        selection: Selection::default(),
        mode: SearchMode::Vector(at_degrees(0).into()),
        limit: 2,
        min_similarity: None,
        effort: Effort::Fast,
    };
    let hits = storage.search(&search).await.expect("hits");
    assert_eq!(ids(hits.iter().map(|hit| &hit.record)), ["r010", "r020"]);
    for (hit, degrees) in hits.iter().zip([10_f64, 20.0]) {
        let distance = hit.distance.expect("a distance");
        assert!((distance - (1.0 - degrees.to_radians().cos())).abs() < 1e-5, "{distance}");
    }
}

#[tokio::test]
async fn collection_of_another_dimension_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let server = ChromaServer::start(directory.path());
    let path = create(&server, "queries", "cosine");
    let body =
        json!({"ids": ["a"], "embeddings": [[1.0, 0.0, 0.0]], "documents": ["a"], "metadatas": [null]});
    server.post(&format!("{path}/add"), &body.to_string());
    let error = ChromaStorage::open(Service::Query, &ServerOptions::new(server.url()))
        .await
        .expect_err("another dimension");
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("3 components, expected 384"), "{source}");
}
