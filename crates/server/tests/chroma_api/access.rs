//! Keys, unknown routes, and routes about the server.

use reqwest::Method;
use serde_json::json;
use server::{ApiKey, Reset, ServerConfig};

use super::{Api, DEFAULT, error};
use crate::served::send_to;

#[tokio::test]
async fn server_answers_as_chroma_does() {
    let api = Api::start().await;
    assert_eq!(api.get("/api/v2/version").await.json(), json!("1.0.0"));
    assert!(api.get("/api/v2/heartbeat").await.json()["nanosecond heartbeat"].is_u64());
    assert_eq!(
        api.get("/api/v2/pre-flight-checks").await.json(),
        json!({"max_batch_size": 5461, "supports_base64_encoding": true})
    );
    assert_eq!(
        api.get("/api/v2/auth/identity").await.json(),
        json!({"user_id": "", "tenant": "default_tenant", "databases": ["default_database"]})
    );
    assert_eq!(api.get("/ready").await.status, 200);
    let (kind, message) = error(&api.get("/api/v1/collections").await, 410);
    assert_eq!((&*kind, &*message), ("Unimplemented", "The v1 API is deprecated. Please use /v2 apis"));
    for path in ["/", "/nope", "/api/v2/nope"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, &*answer.text), (404, ""), "{path}");
    }
    let answer = api.send(Method::DELETE, "/api/v2/version", None).await;
    assert_eq!((answer.status, &*answer.text), (405, ""));
    let tenants = "/api/v2/tenants";
    assert_eq!(error(&api.post(tenants, json!({})).await, 422).0, "ChromaError");
    for body in ["", "{x", "{\"name\": \"abc\"} x"] {
        let answer = send_to(&api.client, &api.url, Method::POST, tenants, &[], Some(body.to_owned())).await;
        // Without a body, no content type is checked.
        assert_eq!(error(&answer, 400).0, "InvalidArgumentError", "{body:?}");
    }
}

#[tokio::test]
async fn key_is_accepted_in_each_header_that_clients_send() {
    let config = ServerConfig { api_key: Some(ApiKey::new("secret")), ..ServerConfig::default() };
    let api = Api::start_with(config, Reset::Refused).await;
    let path = format!("{DEFAULT}/collections");
    let status_of = async |path: &str, headers: &[(&str, &str)]| {
        send_to(&api.client, &api.url, Method::GET, path, headers, None).await.status
    };
    let status = async |headers: &[(&str, &str)]| status_of(&path, headers).await;
    for header in [
        ("x-chroma-token", "secret"),
        ("authorization", "Bearer secret"),
        ("authorization", "bearer secret"),
        ("x-api-key", "secret"),
    ] {
        assert_eq!(status(&[header]).await, 200, "{header:?}");
        for other in ["/metrics", "/openapi.json", "/docs"] {
            assert_eq!(status_of(other, &[header]).await, 200, "{other}: {header:?}");
            assert_eq!(status_of(other, &[]).await, 401, "{other}");
        }
    }
    for header in [
        ("x-chroma-token", "other"),
        ("authorization", "secret"),
        ("authorization", "Basic secret"),
        ("authorization", ""),
    ] {
        assert_eq!(status(&[header]).await, 401, "{header:?}");
    }
    assert_eq!(status(&[]).await, 401);
    assert_eq!(api.get("/api/v2/heartbeat").await.status, 200);
    let (kind, message) = error(&api.get("/api/v2/auth/identity").await, 401);
    assert_eq!(kind, "AuthError");
    assert!(message.contains("X-Chroma-Token"), "{message}");
    // The body is not read.
    let refused = api.post("/api/v2/tenants", json!({"name": "tenant"})).await;
    assert_eq!(refused.headers["connection"], "close");
}

#[tokio::test]
async fn bodies_are_json_that_may_be_undeclared_but_not_compressed() {
    let api = Api::start().await;
    let tenants = format!("{}/api/v2/tenants", api.url);
    let status = async |name: &str, headers: &[(&str, &str)]| {
        let mut request = api.client.post(&tenants).body(json!({"name": name}).to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("the server answers").status().as_u16()
    };
    // Clients before 1.0 declare nothing.
    assert_eq!(status("undeclared", &[]).await, 200);
    assert_eq!(status("identity", &[("content-encoding", "identity")]).await, 200);
    assert_eq!(status("text", &[("content-type", "text/plain")]).await, 415);
    assert_eq!(status("page", &[("origin", "https://evil.example")]).await, 403);
    let gzip = [("content-encoding", "gzip"), ("content-type", "application/json")];
    assert_eq!(status("compressed", &gzip).await, 415);
    let path = format!("{DEFAULT}/collections?limit=1&limit=2");
    assert!(error(&api.get(&path).await, 400).1.contains("duplicate field `limit`"));
}

#[tokio::test]
async fn reset_deletes_everything_only_if_it_is_allowed() {
    let refusing = Api::start_with(ServerConfig::default(), Reset::Refused).await;
    refusing.collection(json!({"name": "kept"})).await;
    assert_eq!(refusing.send(Method::POST, "/api/v2/reset", None).await.status, 403);
    assert_eq!(refusing.get(&format!("{DEFAULT}/collections_count")).await.json(), json!(1));

    let api = Api::start().await;
    let collection = api.collection(json!({"name": "dropped"})).await;
    api.done(&format!("{collection}/add"), json!({"ids": ["a"], "embeddings": [[1]]})).await;
    api.done("/api/v2/tenants", json!({"name": "other"})).await;
    let answer = api.send(Method::POST, "/api/v2/reset", None).await;
    assert_eq!((answer.status, answer.json()), (200, json!(true)));
    assert_eq!(api.get(&format!("{DEFAULT}/collections")).await.json(), json!([]));
    assert_eq!(api.get("/api/v2/tenants/other").await.status, 404);
    let tables = "select relname::text from pg_class where relname like 'dropped%'";
    assert_eq!(api.test_database.texts(tables).await, Vec::<String>::new());
}
