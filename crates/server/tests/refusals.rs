//! Rejected requests: status, field and reason.

use reqwest::Method;
use serde_json::json;
use server::ServerConfig;

use crate::served::Served;

#[tokio::test]
async fn invalid_input_is_rejected_with_field_and_reason() {
    let served = Served::start().await;
    for (path, body, field, reason) in [
        ("/queries", json!({"theme": "t"}), "query", "expected a value, found none"),
        (
            "/queries",
            json!({"query": 5, "theme": "t"}),
            "query",
            "invalid type: integer `5`, expected a string",
        ),
        ("/queries", json!({"query": "a", "theme": null}), "theme", "invalid type: null, expected a string"),
        ("/queries", json!({"query": "a", "theme": "t", "metadata": [1]}), "metadata", "expected an object"),
        ("/queries", json!(["a", "t"]), "body", "invalid type: sequence, expected an object"),
        ("/queries", json!("a"), "body", "expected an object"),
        ("/queries", json!({"query": "a\u{0}", "theme": "t"}), "query", "contains the character NUL"),
        (
            "/queries",
            json!({"query": "a", "theme": "t", "metadata": {"k": ["\u{0}"]}}),
            "metadata.k[0]",
            "contains the character NUL",
        ),
        (
            "/queries",
            json!({"query": "a", "theme": "t", "metadata": {"theme": "u"}}),
            "metadata.theme",
            "expected",
        ),
        ("/queries", json!({"query": "a", "theme": "t", "id": "x".repeat(513)}), "id", "1 to 512 characters"),
        ("/queries/search", json!({"query": "a\u{0}"}), "query", "contains the character NUL"),
        ("/queries/search", json!({"query": "a", "where": {"$nor": []}}), "where", "expected a metadata key"),
        ("/queries/search", json!({"query": "a", "where": "{"}), "where", "expected JSON"),
        (
            "/queries/search",
            json!({"query": "a", "where_document": {"$regex": "("}}),
            "where_document.$regex",
            "",
        ),
        ("/queries/search", json!({"query": "a", "mode": "magic"}), "mode", "expected one of"),
        ("/queries/search", json!({"query": "a", "min_similarity": 1.5}), "min_similarity", "from -1 to 1"),
        ("/queries/search", json!({"query": "a", "end_date": "2026-02-30"}), "end_date", "expected a date"),
        ("/queries/search", json!({"limit": 3}), "query", "expected a value, found none"),
        ("/queries/search", json!({"embedding": [1.0, 2.0]}), "embedding", "expected 384 numbers, found 2"),
        ("/queries/search", json!({"embedding": vec![0.0; 384]}), "embedding", "is all zeros"),
        (
            "/queries/search",
            json!({"embedding": vec![1.0; 384], "mode": "hybrid"}),
            "query",
            "expected a value, found none",
        ),
        (
            "/queries/search",
            json!({"query": "a", "embedding": vec![1.0; 384], "mode": "text"}),
            "embedding",
            "takes no vector",
        ),
        ("/api/v1/outputs", json!({"output": "a", "theme": "t", "model_id": "m"}), "query", "found none"),
        (
            "/api/v1/outputs",
            json!({"output": "a", "theme": "t", "model_id": "m", "qurey": "q"}),
            "qurey",
            "unknown field: did you mean `query`?",
        ),
        (
            "/api/v1/queries/batch",
            json!({"items": [{"query": "a", "theme": "t"}, {"query": "a", "tehme": "t"}]}),
            "items[1].tehme",
            "unknown field: did you mean `theme`?",
        ),
        ("/api/v1/queries/batch", json!({"items": [["a", "t"]]}), "items[0]", "expected an object"),
        ("/api/v1/queries/batch", json!({"items": []}), "items", "expected 1 to 1000 entries"),
        ("/api/v1/queries/fetch", json!({"ids": [1]}), "ids[0]", "expected a string"),
    ] {
        let refused = served.post(path, body.clone()).await;
        let data = &refused.json()["data"];
        assert_eq!((refused.status, &data["field"]), (422, &json!(field)), "{body}: {refused:?}");
        assert!(data["reason"].as_str().is_some_and(|found| found.contains(reason)), "{body}: {refused:?}");
        assert!(refused.message(422).starts_with(&format!("`{field}`: ")), "{refused:?}");
    }
    let infinite = served.post("/queries/search", json!({"embedding": vec![1e39; 384]})).await;
    assert!(infinite.message(400).contains("number out of range"), "{infinite:?}");
    for (path, field, reason) in [
        ("/api/v1/queries?limt=5", "limt", "did you mean `limit`?"),
        ("/api/v1/queries?cursor=x", "cursor", "expected a cursor"),
        ("/api/v1/queries?where=x", "where", "expected JSON"),
        ("/api/v1/queries?theme=%00", "theme", "NUL"),
        ("/api/v1/queries/%00", "id", "NUL"),
        ("/api/v1/queries/count?metric_type=x", "metric_type", "unknown field"),
        ("/api/v1/queries/export?start_date=soon", "start_date", "expected a date"),
    ] {
        let refused = served.get(path).await;
        let data = &refused.json()["data"];
        assert_eq!((refused.status, &data["field"]), (422, &json!(field)), "{path}: {refused:?}");
        assert!(data["reason"].as_str().is_some_and(|found| found.contains(reason)), "{path}: {refused:?}");
    }
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], 0, "nothing was stored");
}

#[tokio::test]
async fn malformed_requests_are_rejected_in_the_envelope() {
    let config = ServerConfig { max_body_bytes: 1_000, ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    for body in [
        "",
        "{",
        "{\"query\": \"a\",}",
        "{\"query\": \"\\ud800\"}",
        "{\"query\": \"a\", \"theme\": \"t\"} {}",
        &format!("{{\"metadata\": {{\"a\": {}", "[".repeat(900)),
    ] {
        let refused = served.send(Method::POST, "/api/v1/queries", &[], Some(body.to_owned())).await;
        assert!(refused.message(400).starts_with("malformed JSON: "), "{body}: {refused:?}");
    }
    let large = json!({"query": "x".repeat(1_000), "theme": "t"});
    assert!(served.post("/queries", large).await.message(413).contains("larger than 1000 bytes"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let refused = served.send(Method::POST, "/queries", &form, Some("query=a".into())).await;
    assert!(refused.message(415).contains("application/json"), "{refused:?}");
    let json_with_charset = [("content-type", "application/json; charset=utf-8")];
    let body = json!({"query": "a", "theme": "t"}).to_string();
    assert_eq!(served.send(Method::POST, "/queries", &json_with_charset, Some(body)).await.status, 200);

    assert_eq!(
        served.get("/api/v3/queries").await.message(404),
        "no route `/api/v3/queries`: see /docs for the existing routes"
    );
    let refused = served.send(Method::PUT, "/api/v1/queries", &[], None).await;
    assert!(refused.message(405).contains("does not take PUT"), "{refused:?}");
    let allowed = refused.header("allow");
    assert!(["GET", "POST"].iter().all(|method| allowed.contains(method)), "{allowed}");
    assert!(served.get("/api/v1/queries/%FF").await.message(400).contains("malformed path"));
}
