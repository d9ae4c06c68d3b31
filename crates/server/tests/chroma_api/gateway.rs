//! Chroma's API at the address of all services, and behind a gateway.

use reqwest::Method;
use serde_json::{Value, json};
use server::{ApiKey, Reset, ServerConfig};
use test_support::HttpStub;

use super::{Api, DEFAULT, error};
use crate::{
    gateway::Gateway,
    served::{Answer, Served, client, send_to},
};

const KEY: &str = "secret";
const TOKEN: [(&str, &str); 1] = [("x-chroma-token", KEY)];

fn keyed() -> ServerConfig {
    ServerConfig { api_key: Some(ApiKey::new(KEY)), ..ServerConfig::default() }
}

async fn send(url: &str, request: (Method, &str), headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    send_to(&client(), url, request.0, request.1, headers, body.map(|body| body.to_string())).await
}

/// What a Chroma client does, and what it is refused, at `url`, which requires the key.
async fn check_collections(url: &str) {
    let collections = format!("{DEFAULT}/collections");
    for (header, value) in [("x-chroma-token", KEY), ("authorization", "Bearer secret"), ("x-api-key", KEY)] {
        let answer = send(url, (Method::GET, &collections), &[(header, value)], None).await;
        assert!(answer.status == 200 && answer.json().is_array(), "{header}: {answer:?}");
    }
    let created =
        send(url, (Method::POST, &collections), &TOKEN, Some(json!({"name": "articles"}))).await.json();
    let collection = format!("{collections}/{}", created["id"].as_str().expect("it has an id"));
    let records = json!({"ids": ["a", "b"], "embeddings": [[1, 0], [0, 1]]});
    let added = send(url, (Method::POST, &format!("{collection}/add")), &TOKEN, Some(records)).await;
    assert_eq!((added.status, added.json()), (201, json!({})));
    assert!(!added.header("chroma-trace-id").is_empty(), "{added:?}");
    let query = json!({"query_embeddings": [[1, 0.1]], "n_results": 1});
    let found = send(url, (Method::POST, &format!("{collection}/query")), &TOKEN, Some(query)).await;
    assert_eq!(found.json()["ids"], json!([["a"]]));
    let broken = send_to(&client(), url, Method::POST, &collections, &TOKEN, Some("{x".to_owned())).await;
    assert_eq!(error(&broken, 400).0, "InvalidArgumentError");
    let deleted = send(url, (Method::DELETE, &format!("{collections}/articles")), &TOKEN, None).await;
    assert_eq!(deleted.status, 200);
    assert_eq!(send(url, (Method::POST, "/api/v2/reset"), &TOKEN, None).await.status, 403);

    assert_eq!(send(url, (Method::GET, "/api/v2/heartbeat"), &[], None).await.status, 200);
    let keyless = send(url, (Method::GET, &collections), &[], None).await;
    assert_eq!(error(&keyless, 401).0, "AuthError");
    let nowhere = send(url, (Method::GET, "/api/v2/nope"), &TOKEN, None).await;
    assert_eq!((nowhere.status, &*nowhere.text), (404, ""));
    // The routes of the services keep their key and their envelope.
    send(url, (Method::GET, "/api/v1/queries/x"), &TOKEN, None).await.message(401);
    for path in ["/api/v1/collections", "/api/v2x", "/api"] {
        let answer = send(url, (Method::GET, path), &[("x-api-key", KEY)], None).await;
        assert!(answer.message(404).starts_with("no route"), "{path}");
    }
}

#[tokio::test]
async fn address_of_all_services_serves_chroma_clients() {
    let served = Served::start_with(keyed()).await;
    check_collections(&served.url).await;
}

#[tokio::test]
async fn gateway_forwards_to_a_separate_server_of_collections() {
    let api = Api::start_with(keyed(), Reset::Refused).await;
    let silent = HttpStub::start(|_| None);
    let gateway = Gateway::before_all(&silent.url(), Some(&api.url), keyed()).await;
    check_collections(&gateway.url).await;
    let checks = gateway.send(Method::GET, "/ready", &[("x-api-key", KEY)], None).await.json();
    let is_ready = |name: &str| {
        let checks = checks["data"]["checks"].as_array().expect("the key shows checks");
        checks.iter().find(|check| check["name"] == name).expect("it is checked")["ready"].clone()
    };
    assert_eq!((is_ready("chroma service"), is_ready("query service")), (json!(true), json!(false)));

    let gateway = Gateway::before_all(&silent.url(), Some(&silent.url()), ServerConfig::default()).await;
    let answer = gateway.send(Method::GET, "/api/v2/version", &[], None).await;
    assert_eq!(error(&answer, 502).1, "the chroma service does not answer");
    let without = Gateway::before_all(&silent.url(), None, ServerConfig::default()).await;
    let answer = without.send(Method::GET, "/api/v2/version", &[], None).await;
    assert!(answer.message(404).starts_with("no route"), "{answer:?}");
}

#[tokio::test]
async fn requests_of_web_pages_are_rejected_as_those_to_the_services() {
    let served = Served::start().await;
    let api = Api::start().await;
    let gateway = Gateway::before_all(&served.url, Some(&api.url), ServerConfig::default()).await;
    let collections = format!("{DEFAULT}/collections");
    for url in [&served.url, &gateway.url] {
        for (header, status) in [(("host", "evil.example"), 421), (("origin", "https://evil.example"), 403)] {
            for path in [&*collections, "/api/v2/heartbeat", "/api/v2/version"] {
                let answer = send(url, (Method::GET, path), &[header], None).await;
                assert_eq!(error(&answer, status).0, "ChromaError", "{path} {header:?}");
            }
        }
        let created = send(url, (Method::POST, &collections), &[], Some(json!({"name": "mine"}))).await;
        assert_eq!(created.status, 200, "{created:?}");
    }
}

#[tokio::test]
async fn bodies_of_chroma_clients_have_their_own_limit() {
    let config =
        ServerConfig { max_body_bytes: 1_000, max_chroma_body_bytes: 5_000, ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    let create = |characters: usize| {
        Some(json!({"name": format!("c{characters}"), "metadata": {"k": "x".repeat(characters)}}))
    };
    let collections = (Method::POST, &*format!("{DEFAULT}/collections"));
    let created = send(&served.url, collections.clone(), &[], create(3_000)).await;
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(error(&send(&served.url, collections, &[], create(6_000)).await, 413).0, "ChromaError");
    let query = json!({"query": "x".repeat(3_000), "theme": "t"});
    send(&served.url, (Method::POST, "/api/v1/queries"), &[], Some(query)).await.message(413);
}
