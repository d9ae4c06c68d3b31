//! The gateway in front of separate services.

use std::sync::Arc;

use records::Service;
use reqwest::{Method, StatusCode};
use serde_json::json;
use server::{Probes, Process, ServerConfig, Upstream, gateway};
use test_support::{HttpAnswer, HttpStub};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::served::{Answer, Served, client, listen, send_to};

/// A gateway that forwards everything to `url`.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) process: Arc<Process>,
}

impl Gateway {
    async fn before(url: &str) -> Self {
        Self::before_with(url, ServerConfig::default()).await
    }

    pub(crate) async fn before_with(url: &str, config: ServerConfig) -> Self {
        Self::before_all(url, None, config).await
    }

    /// With Chroma's API from a server of its own.
    pub(crate) async fn before_all(url: &str, chroma: Option<&str>, config: ServerConfig) -> Self {
        let upstreams = Service::ALL.map(|service| Upstream { service, url: url.to_owned() });
        let process = Process::new(config, Probes::default());
        let router = gateway(&upstreams, chroma, &client(), &process);
        Self { url: listen(router).await, process }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        send_to(&client(), &self.url, method, path, headers, body).await
    }
}

#[tokio::test]
async fn requests_and_responses_are_forwarded_unchanged() {
    let served = Served::start().await;
    let gateway = Gateway::before(&served.url).await;
    let body = json!({"query": "Why?", "theme": "a/b", "x": 1, "id": "a/b?c"}).to_string();
    let headers = [("idempotency-key", "k"), ("x-request-id", "mine")];
    let stored = gateway.send(Method::POST, "/api/v1/queries", &headers, Some(body)).await;
    assert_eq!(stored.data()["id"], "a/b?c");
    assert_eq!(stored.header("x-panopticon-ignored-fields"), "x");
    assert_eq!(stored.header("x-request-id"), "mine");
    let shown = gateway.send(Method::GET, "/queries/a%2Fb%3Fc", &[], None).await;
    assert_eq!(shown.json(), stored.data());
    assert_eq!(
        gateway.send(Method::GET, "/api/v1/queries?theme=a%2Fb", &[], None).await.data()["items"][0],
        shown.json()
    );
    for path in ["/evaluation-metrics/x", "/api/v1/outputs/x", "/queries/x"] {
        gateway.send(Method::GET, path, &[], None).await.message(404);
    }
    assert_eq!(gateway.send(Method::GET, "/results", &[], None).await.json(), json!([]));
    assert!(gateway.send(Method::GET, "/elsewhere", &[], None).await.message(404).starts_with("no route"));
    let exported = gateway.send(Method::GET, "/api/v1/queries/export", &[], None).await;
    assert_eq!((exported.text.lines().count(), exported.header("content-type")), (1, "application/x-ndjson"));
    let ready = gateway.send(Method::GET, "/ready", &[], None).await.data();
    assert_eq!(ready["checks"][1], json!({"name": "query service", "ready": true, "reason": null}));
    let described = gateway.send(Method::GET, "/openapi.json", &[], None).await.json();
    assert_eq!(described["paths"], served.get("/openapi.json").await.json()["paths"]);
    let metrics = gateway.send(Method::GET, "/metrics", &[], None).await.text;
    assert!(metrics.contains(r#"route="/api/v1/queries/{*rest}",method="GET",status="200""#), "{metrics}");
}

#[tokio::test]
async fn unavailable_service_is_named_in_the_envelope() {
    let nobody = HttpStub::start(|_| None);
    let gateway = Gateway::before(&nobody.url()).await;
    let answer = gateway.send(Method::GET, "/queries/x", &[], None).await;
    assert_eq!(answer.message(502), "the query service does not answer");
    assert!(answer.json()["data"]["request_id"].is_string(), "{answer:?}");
    let ready = gateway.send(Method::GET, "/ready", &[], None).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    gateway.send(Method::GET, "/health", &[], None).await.data();
}

#[tokio::test]
async fn errors_of_services_are_forwarded() {
    let stub = HttpStub::start(|request| {
        assert_eq!((request.header("x-api-key"), request.header("connection")), (Some("k"), None));
        Some(HttpAnswer::json(418, r#"{"a": 1}"#).with_header("x-own", "1"))
    });
    let gateway = Gateway::before(&stub.url()).await;
    let headers = [("x-api-key", "k"), ("connection", "keep-alive")];
    let answer = gateway.send(Method::GET, "/queries/x?y=%20", &headers, None).await;
    assert_eq!((answer.status, answer.header("x-own"), answer.text.as_str()), (418, "1", r#"{"a": 1}"#));
}

/// Sends a request whose path no client has normalized.
async fn raw(url: &str, first: &str) -> String {
    let address = url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request =
        format!("{first} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer comes");
    answer
}

#[tokio::test]
async fn dot_segments_are_rejected() {
    let upstream = HttpStub::start(|request| Some(HttpAnswer::json(200, &json!(request.path).to_string())));
    let gateway = Gateway::before(&format!("{}/base", upstream.url())).await;
    for path in [
        "/api/v1/queries/%2e%2e/%2e%2e/%2e%2e/admin",
        "/api/v1/queries/%2E%2e/admin",
        "/api/v1/queries/../admin",
        "/queries/x%2f..%2f..%2fadmin",
        "/queries/..%5cadmin",
        "/queries/%252e%252e/admin",
    ] {
        let answer = raw(&gateway.url, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    let answer = raw(&gateway.url, "GET /queries/a%2Fb..c?x=..").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("/base/queries/a%2Fb..c?x=.."),
        "{answer}"
    );
}

#[tokio::test]
async fn trailing_slash_is_redirected() {
    let served = Served::start().await;
    let gateway = Gateway::before(&served.url).await;
    for url in [&served.url, &gateway.url] {
        for (first, place) in [
            ("POST /api/v1/queries/", "/api/v1/queries"),
            ("POST /queries/", "/queries"),
            ("GET /queries/theme/geo/?page=2&limit=5", "/queries/theme/geo?page=2&limit=5"),
            ("GET /api/v1/evaluation-metrics/search/", "/api/v1/evaluation-metrics/search"),
            ("GET /results/", "/results"),
        ] {
            let answer = raw(url, first).await.to_lowercase();
            assert!(answer.starts_with("http/1.1 307 "), "{first}: {answer}");
            assert!(
                answer.contains(&format!("\r\nlocation: {}\r\n", place.to_lowercase())),
                "{first}: {answer}"
            );
        }
        assert!(raw(url, "GET //evil.example/").await.starts_with("HTTP/1.1 404 "));
    }
}
