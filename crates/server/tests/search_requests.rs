//! Search requests: vectors as base64, the fields of the results, and batches.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::served::Served;

const SEARCH: &str = "/api/v1/queries/search";

/// A service with three queries.
async fn with_queries() -> Served {
    let served = Served::start().await;
    for text in ["Fusion of hydrogen", "The sun shines by burning light atoms", "Cheese"] {
        served.post("/api/v1/queries", json!({"query": text, "theme": "science"})).await.data();
    }
    served
}

fn unit_vector(axis: usize) -> Vec<f32> {
    (0..384).map(|place| if place == axis { 1.0 } else { 0.01 }).collect()
}

fn base64(components: &[f32]) -> String {
    STANDARD.encode(components.iter().flat_map(|component| component.to_le_bytes()).collect::<Vec<_>>())
}

#[tokio::test]
async fn vector_in_base64_finds_what_its_numbers_find() {
    let served = with_queries().await;
    let vector = unit_vector(7);
    for path in [SEARCH, "/queries/search", "/api/v1/outputs/search", "/evaluation-metrics/search"] {
        let numbers = served.post(path, json!({"embedding": vector})).await;
        let encoded = served.post(path, json!({"embedding": base64(&vector)})).await;
        assert_eq!((numbers.status, encoded.status), (200, 200), "{numbers:?} {encoded:?}");
        let found = |json: Value| json.get("data").cloned().unwrap_or(json);
        assert_eq!(found(encoded.json()), found(numbers.json()), "{path}");
    }
    for (embedding, reason) in [
        (base64(&vector[..383]), "expected 384 numbers, found 383"),
        (base64(&vector)[..40].to_owned(), "expected four bytes for each component"),
        ("not base64".to_owned(), "in base64"),
        (base64(&[f32::NAN; 384]), "not a finite number"),
        (base64(&[0.0; 384]), "is all zeros"),
    ] {
        let refused = served.post(SEARCH, json!({"embedding": embedding})).await;
        let data = &refused.json()["data"];
        assert_eq!((refused.status, &data["field"]), (422, &json!("embedding")), "{refused:?}");
        assert!(data["reason"].as_str().is_some_and(|found| found.contains(reason)), "{refused:?}");
    }
}

#[tokio::test]
async fn results_have_the_requested_fields() {
    let served = with_queries().await;
    let keys = async |fields: Value| {
        let search = json!({"query": "hydrogen", "limit": 1, "mode": "hybrid", "fields": fields});
        let found = served.post(SEARCH, search).await.data();
        found[0].as_object().expect("a result").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(json!(null)).await, ["distance", "id", "metadata", "query", "score"]);
    assert_eq!(keys(json!([])).await, ["id"]);
    assert_eq!(keys(json!(["id", "distance"])).await, ["distance", "id"]);
    assert_eq!(keys(json!(["query", "score"])).await, ["id", "query", "score"]);
    let text = json!({"query": "hydrogen", "mode": "text", "fields": ["distance"]});
    let found = served.post(SEARCH, text).await.data();
    assert!(found[0].as_object().is_some_and(|found| found["distance"].is_null()), "{found}");
    for (path, name) in [(SEARCH, "prompt"), ("/api/v1/outputs/search", "query"), ("/queries/search", "")] {
        let refused = served.post(path, json!({"embedding": unit_vector(1), "fields": ["id", name]})).await;
        let data = &refused.json()["data"];
        assert_eq!((refused.status, &data["field"]), (422, &json!("fields[1]")), "{refused:?}");
        assert!(data["reason"].as_str().is_some_and(|found| found.contains("expected one of id")), "{data}");
    }
}

#[tokio::test]
async fn batch_finds_what_its_searches_find() {
    let served = with_queries().await;
    let searches = [
        json!({"query": "hydrogen"}),
        json!({"embedding": unit_vector(3), "limit": 2, "fields": ["distance"]}),
        json!({"query": "Cheese", "mode": "hybrid", "theme": "science"}),
        json!({"query": "sun", "mode": "text"}),
        json!({"query": "Cheese", "limit": 1, "exact": true}),
        json!({"query": "nothing of this theme", "theme": "cooking"}),
    ];
    let mut expected = Vec::new();
    for search in &searches {
        expected.push(served.post(SEARCH, search.clone()).await.data());
    }
    let found = served.post(&format!("{SEARCH}/batch"), json!({"searches": searches})).await.data();
    assert_eq!(found, Value::from(expected));
    let many = vec![json!({"embedding": base64(&unit_vector(3)), "fields": []}); 100];
    let found = served.post(&format!("{SEARCH}/batch"), json!({"searches": many})).await.data();
    assert_eq!(found.as_array().map(Vec::len), Some(100));
    for (searches, field, reason) in [
        (json!([]), "searches", "expected 1 to 100 entries"),
        (json!(vec![json!({"query": "a"}); 101]), "searches", "expected 1 to 100 entries, found 101"),
        (json!([{"query": "a"}, {"limit": 3}]), "searches[1].query", "expected a value"),
        (json!([{"query": "a", "lmit": 3}]), "searches[0].lmit", "did you mean `limit`?"),
        (json!([{"query": "a", "fields": ["all"]}]), "searches[0].fields[0]", "unknown field `all`"),
        (json!([{"query": "a"}, {"embedding": [1]}]), "searches[1].embedding", "expected 384 numbers"),
        (json!([["a"]]), "searches[0]", "expected an object"),
    ] {
        let refused = served.post(&format!("{SEARCH}/batch"), json!({"searches": searches})).await;
        let data = &refused.json()["data"];
        assert_eq!((refused.status, &data["field"]), (422, &json!(field)), "{refused:?}");
        assert!(data["reason"].as_str().is_some_and(|found| found.contains(reason)), "{refused:?}");
    }
}

#[tokio::test]
async fn batch_whose_results_together_are_too_large_is_refused() {
    let served = Served::start().await;
    for n in 0..4 {
        let long = json!({"id": format!("{n}"), "query": format!("{n} ").repeat(1_000_000), "theme": "long"});
        served.post("/api/v1/queries", long).await.data();
    }
    let search = json!({"embedding": unit_vector(3), "limit": 4});
    served.post(SEARCH, search.clone()).await.data();
    let refused = served.post(&format!("{SEARCH}/batch"), json!({"searches": vec![search; 100]})).await;
    assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!("searches")), "{refused:?}");
}
