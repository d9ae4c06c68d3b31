//! The gateway before services that run apart.

use std::net::Ipv4Addr;

use records::Service;
use reqwest::{Method, StatusCode};
use serde_json::json;
use server::{Listener, Probes, Process, ServerConfig, Shutdown, Upstream, gateway};
use test_support::{HttpAnswer, HttpStub};

use crate::served::{Answer, Served, TIMES, client, send_to};

/// A gateway that passes everything on to `url`.
struct Gateway {
    url: String,
}

impl Gateway {
    async fn before(url: &str) -> Self {
        let upstreams = Service::ALL.map(|service| Upstream { service, url: url.to_owned() });
        let router =
            gateway(&upstreams, &client(), &Process::new(ServerConfig::default(), Probes::default()));
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
        let url = format!("http://{}", listener.address());
        // Ends with the test's runtime.
        tokio::spawn(listener.serve(router, Shutdown::default(), TIMES));
        Self { url }
    }

    async fn send(
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
async fn requests_and_answers_pass_as_they_are() {
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
async fn service_that_does_not_answer_is_named_in_the_envelope() {
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
async fn services_own_errors_pass_too() {
    let stub = HttpStub::start(|request| {
        assert_eq!((request.header("x-api-key"), request.header("connection")), (Some("k"), None));
        Some(HttpAnswer::json(418, r#"{"a": 1}"#).with_header("x-own", "1"))
    });
    let gateway = Gateway::before(&stub.url()).await;
    let headers = [("x-api-key", "k"), ("connection", "keep-alive")];
    let answer = gateway.send(Method::GET, "/queries/x?y=%20", &headers, None).await;
    assert_eq!((answer.status, answer.header("x-own"), answer.text.as_str()), (418, "1", r#"{"a": 1}"#));
}
