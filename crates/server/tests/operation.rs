//! Readiness, metrics and the OpenAPI document.

use std::collections::BTreeSet;

use expect_test::expect_file;
use provision::Durability;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use server::{ApiKey, ServerConfig};
use test_support::PostgresServer;

use crate::served::{Answer, Served};

#[tokio::test]
async fn unavailable_store_is_reported_and_used_again_once_it_is_back() {
    let mut postgres = PostgresServer::private(Durability::Full, &[]).await;
    let served = Served::start_on(&postgres.url(), ServerConfig::default()).await;
    let stored = served.post("/api/v1/queries", json!({"query": "Why?", "theme": "t"})).await.data();
    served.get("/ready").await.data();
    postgres.kill();
    let unavailable = served.wait_for("/api/v1/queries/count", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(
        (unavailable.message(503), unavailable.header("retry-after")),
        ("the query storage does not answer".into(), "1")
    );
    assert!(!unavailable.text.contains("127.0.0.1"), "the address is not disclosed: {unavailable:?}");
    let unavailable = served.post("/queries", json!({"query": "Why?", "theme": "t"})).await;
    unavailable.message(503);
    // The cached result of the storage's check may not have expired.
    let is_unready = |answer: &Answer| answer.json()["data"]["checks"][1]["ready"] == false;
    let unready = served.wait_until("/ready", is_unready).await;
    let checks = &unready.json()["data"]["checks"];
    assert_eq!(unready.status, 503, "{unready:?}");
    assert!(checks[1]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{unready:?}");
    served.get("/health").await.data();
    postgres.restart().await;
    served.wait_for("/ready", StatusCode::OK).await;
    let id = stored["id"].as_str().expect("an id");
    assert_eq!(served.get(&format!("/api/v1/queries/{id}")).await.data(), stored);
}

#[tokio::test]
async fn metrics_count_requests_storage_embedding_and_connections() {
    let served = Served::start().await;
    served.post("/api/v1/queries", json!({"query": "Why?", "theme": "t"})).await.data();
    served.get("/api/v1/queries/one").await.message(404);
    served.get("/api/v1/queries/two").await.message(404);
    served.get("/nowhere").await.message(404);
    let metrics = served.get("/metrics").await;
    assert!(
        metrics.header("content-type").starts_with("application/openmetrics-text"),
        "{:?}",
        metrics.headers
    );
    for line in [
        r#"panopticon_http_request_duration_seconds_count{route="/api/v1/queries",method="POST",status="200"} 1"#,
        r#"panopticon_http_request_duration_seconds_count{route="/api/v1/queries/{id}",method="GET",status="404"} 2"#,
        r#"panopticon_http_request_duration_seconds_count{route="none",method="GET",status="404"} 1"#,
        r#"panopticon_storage_duration_seconds_count{service="query",operation="insert",outcome="done"} 1"#,
        r#"panopticon_storage_duration_seconds_count{service="query",operation="get",outcome="done"} 2"#,
        "panopticon_embedding_duration_seconds_count 1",
        "panopticon_embedded_texts_total 1",
        "panopticon_http_requests_in_flight 1",
        "# EOF",
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line}: {}", metrics.text);
    }
    let value = |name: &str| {
        let line = metrics.text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.parse::<u32>().ok()).unwrap_or_else(|| panic!("{name}: {}", metrics.text))
    };
    let (size, idle) =
        (value("panopticon_database_connections"), value("panopticon_database_connections_idle"));
    assert!(size >= 1 && idle <= size, "{idle} of {size}");
}

#[tokio::test]
async fn openapi_document_lists_every_route() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.json();
    let listed: Vec<String> = operations(&document)
        .into_iter()
        .map(|(method, path, operation)| {
            format!(
                "{:<6} {path}  {}\n",
                method.to_uppercase(),
                operation["summary"].as_str().expect("a summary")
            )
        })
        .collect();
    // Detects added and removed routes.
    expect_file!["routes.txt"].assert_eq(&listed.concat());
    for (method, path, _) in operations(&document) {
        let path = path.replace(['{', '}'], "");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let answer = served.send(method.clone(), &path, &[], None).await;
        assert!(answer.status != 405 && !answer.text.contains("no route"), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn openapi_document_is_consistent() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 50, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("references stay inside");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()), "{id} is unique");
        let responses = operation["responses"].as_object().expect("responses");
        for status in ["200", "500", "503"] {
            assert!(responses.contains_key(status), "{method} {path}: {status}");
        }
        for (status, response) in responses {
            assert!(
                !response["description"].as_str().expect("a description").is_empty(),
                "{method} {path}: {status}"
            );
        }
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path: Vec<&str> = parameters
            .iter()
            .filter(|one| one["in"] == "path")
            .filter_map(|one| one["name"].as_str())
            .collect();
        let variable: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(in_path, variable, "{method} {path}");
        if let Some((before, _)) = path.split_once('{') {
            let answer = served.get(before).await;
            assert_eq!(answer.status, 307, "{before}: {answer:?}");
            assert!(responses.contains_key("404"), "{path}");
        }
        assert!(operation["security"].is_null(), "there is no key: {method} {path}");
    }
    let config = ServerConfig { api_key: Some(ApiKey::new("k")), ..ServerConfig::default() };
    let keyed = Served::start_with(config).await;
    let document = keyed.send(Method::GET, "/openapi.json", &[("x-api-key", "k")], None).await.json();
    for (method, path, operation) in operations(&document) {
        let is_open = matches!(path, "/health" | "/ready");
        assert_eq!(operation["security"].is_null(), is_open, "{method} {path}");
        assert_eq!(operation["responses"]["401"].is_null(), is_open, "{method} {path}");
    }
    let search = &document["components"]["schemas"]["QuerySearch"]["properties"];
    assert_eq!((&search["limit"]["minimum"], &search["limit"]["maximum"]), (&json!(1), &json!(100)));
}

pub(crate) fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .expect("an item")
            .iter()
            .map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    });
    operations.collect()
}

fn collect_references<'v>(value: &'v Value, references: &mut Vec<&'v str>) {
    match value {
        Value::Object(entries) => {
            references.extend(entries.get("$ref").and_then(Value::as_str));
            entries.values().for_each(|value| collect_references(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, references)),
        _ => {}
    }
}
