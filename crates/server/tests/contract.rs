//! The contract's routes, with and without the envelope.

use reqwest::Method;
use serde_json::{Value, json};

use crate::served::Served;

/// The contract's field names of a resource.
struct Named {
    path: &'static str,
    text: &'static str,
    category: &'static str,
    by_category: &'static str,
}

const RESOURCES: [Named; 2] = [
    Named { path: "queries", text: "query", category: "theme", by_category: "theme" },
    Named { path: "evaluation-metrics", text: "prompt", category: "metric_type", by_category: "type" },
];

#[tokio::test]
async fn record_is_stored_shown_listed_and_found_in_both_forms() {
    let served = Served::start().await;
    for Named { path, text, category, by_category } in RESOURCES {
        let body = |words: &str, n: u32| json!({text: words, category: "physics/1 %", "metadata": {"n": n}});
        let first =
            served.post(&format!("/api/v1/{path}"), body("How does nuclear fusion work?", 1)).await.data();
        assert_eq!(first[text], "How does nuclear fusion work?");
        assert_eq!(
            (&first["metadata"]["n"], &first["metadata"][category]),
            (&json!(1), &json!("physics/1 %"))
        );
        assert!(first["metadata"]["timestamp"].is_string());
        assert_eq!(first.as_object().map(serde_json::Map::len), Some(3), "id, text, metadata: {first}");
        let second = served.post(&format!("/{path}"), body("Which cheese melts best?", 2)).await;
        assert_eq!(second.status, 200, "{second:?}");
        let second = second.json();
        assert!(second["status"].is_null(), "bare data: {second}");

        let id = first["id"].as_str().expect("an id");
        assert_eq!(served.get(&format!("/api/v1/{path}/{id}")).await.data(), first);
        assert_eq!(served.get(&format!("/{path}/{id}")).await.json(), first);
        served.get(&format!("/{path}/unknown")).await.message(404);

        // The segment is percent-decoded.
        let listed = served.get(&format!("/api/v1/{path}/{by_category}/physics%2F1%20%25")).await.data();
        assert_eq!(listed["items"], json!([second, first]), "newest first");
        assert_eq!(listed["pagination"], json!({"page": 1, "limit": 10, "total": 2, "pages": 1}));
        let second_page = format!("{by_category}/physics%2F1%20%25?page=2&limit=1");
        let listed = served.get(&format!("/api/v1/{path}/{second_page}")).await.data();
        assert_eq!(listed["items"], json!([first]));
        assert_eq!(listed["pagination"], json!({"page": 2, "limit": 1, "total": 2, "pages": 2}));
        assert_eq!(served.get(&format!("/{path}/{second_page}")).await.json(), json!([first]));
        let nobody = served.get(&format!("/api/v1/{path}/{by_category}/nobody")).await.data();
        assert_eq!(nobody["pagination"], json!({"page": 1, "limit": 10, "total": 0, "pages": 0}));

        let search = json!({text: "energy of the sun", "limit": 1});
        let found = served.post(&format!("/api/v1/{path}/search"), search.clone()).await.data();
        assert_nearest(&found, &first);
        assert_nearest(&served.post(&format!("/{path}/search"), search).await.json(), &first);
        let found =
            served.post(&format!("/api/v1/{path}/search"), json!({text: "energy of the sun"})).await.data();
        let distances: Vec<f64> =
            found.as_array().expect("a list").iter().filter_map(|hit| hit["distance"].as_f64()).collect();
        assert!(distances.len() == 2 && distances[0] < distances[1] && distances[1] <= 2.0, "{distances:?}");
    }
}

/// Whether `found` is `record` alone, with its distance.
fn assert_nearest(found: &Value, record: &Value) {
    let mut hit = found[0].clone();
    let distance =
        hit.as_object_mut().and_then(|hit| hit.remove("distance")).and_then(|distance| distance.as_f64());
    assert!(distance.is_some_and(|distance| (0.0..1.0).contains(&distance)), "{found}");
    assert_eq!((&hit, found.as_array().map(Vec::len)), (record, Some(1)));
}

#[tokio::test]
async fn metrics_are_searched_by_query_string_or_body() {
    let served = Served::start().await;
    let stored = served
        .post(
            "/api/v1/evaluation-metrics",
            json!({"prompt": "Is the answer correct?", "metric_type": "accuracy"}),
        )
        .await
        .data();
    for path in ["/api/v1/evaluation-metrics/search", "/evaluation-metrics/search"] {
        for query in ["?prompt=correctness&limit=3", "?prompt=correctness"] {
            let answer = served.send(Method::POST, &format!("{path}{query}"), &[], None).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.text.contains(stored["id"].as_str().expect("an id")), "{answer:?}");
        }
        let refused = served.send(Method::POST, path, &[], None).await;
        assert_eq!(refused.json()["data"]["field"], "prompt", "{refused:?}");
        let refused = served.send(Method::POST, &format!("{path}?prompt=a&limit=101"), &[], None).await;
        assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!("limit")), "{refused:?}");
    }
}

#[tokio::test]
async fn bounds_of_pages_and_searches_are_enforced() {
    let served = Served::start().await;
    for (path, field) in [
        ("/queries/theme/a?page=0", "page"),
        ("/queries/theme/a?page=-1", "page"),
        ("/queries/theme/a?page=99999999999", "page"),
        ("/queries/theme/a?page=one", "page"),
        ("/api/v1/queries/theme/a?limit=0", "limit"),
        ("/api/v1/queries/theme/a?limit=101", "limit"),
        ("/api/v1/queries/theme/a?limit=1&limit=2", "limit"),
        ("/api/v1/results?min_score=11", "min_score"),
        ("/api/v1/results?max_score=NaN", "max_score"),
    ] {
        let refused = served.get(path).await;
        assert_eq!(
            (refused.status, &refused.json()["data"]["field"]),
            (422, &json!(field)),
            "{path}: {refused:?}"
        );
    }
    for limit in [json!(0), json!(101), json!(-1), json!(1.5), json!("5.5"), json!(null)] {
        let refused = served.post("/queries/search", json!({"query": "a", "limit": limit})).await;
        assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!("limit")), "{refused:?}");
    }
    assert_eq!(
        served.get("/api/v1/queries/theme/a?page=2147483647&limit=100").await.data()["items"],
        json!([])
    );
    served.post("/api/v1/queries/search", json!({"query": "a", "limit": 100})).await.data();
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_named_in_a_header() {
    let served = Served::start().await;
    let body = json!({"query": "Why?", "theme": "t", "priority": 1, "tags, all": []});
    for path in ["/queries", "/api/v1/queries"] {
        let answer = served.post(path, body.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-panopticon-ignored-fields"), "priority, tags%2C%20all");
    }
    let answer = served.post("/queries/search", json!({"query": "Why?", "top_k": 3})).await;
    assert_eq!(answer.header("x-panopticon-ignored-fields"), "top_k");
    let answer = served.get("/queries/theme/t?sort=asc").await;
    assert_eq!((answer.status, answer.header("x-panopticon-ignored-fields")), (200, "sort"));
    let answer = served.post("/queries", json!({"query": "Why?", "theme": "t"})).await;
    assert_eq!(answer.header("x-panopticon-ignored-fields"), "");
}

#[tokio::test]
async fn texts_of_any_length_and_script_are_returned_unchanged() {
    let served = Served::start().await;
    for text in ["", "ß𝕏 שלום \u{202e} \u{1F468}\u{200D}\u{1F469}", &"long words ".repeat(20_000)] {
        let body =
            json!({"query": text, "theme": "", "metadata": {"ключ": ["a", {"b": null}], "big": u64::MAX}});
        let stored = served.post("/api/v1/queries?embedding_info=true", body).await.data();
        let info = &stored["metadata"]["panopticon:embedding"];
        assert_eq!(info["truncated"], json!(text.len() > 1_000), "{info}");
        assert!(info["tokens"].as_u64().is_some_and(|tokens| (2..=256).contains(&tokens)), "{info}");
        let id = stored["id"].as_str().expect("an id");
        let shown = served.get(&format!("/api/v1/queries/{id}")).await.data();
        assert_eq!(shown["query"], json!(text));
        assert_eq!(shown["metadata"]["ключ"], json!(["a", {"b": null}]));
        assert_eq!(shown["metadata"]["big"], json!(u64::MAX));
        assert!(shown["metadata"]["panopticon:embedding"].is_null(), "it is not stored: {shown}");
    }
}
