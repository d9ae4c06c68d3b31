//! Event streams: limit, cost and end; and how often readiness checks run.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use futures_util::future::join_all;
use reqwest::{Client, Method, Response};
use serde_json::json;
use server::ServerConfig;

use crate::{
    evaluations::{Stub, completion, metric},
    faulty::Faulty,
    gateway::Gateway,
    runs::{VERDICT, begin, queries},
    served::{Served, client},
};

async fn watch(client: &Client, url: &str, id: &str) -> Response {
    let response = client.get(format!("{url}/api/v1/runs/{id}/events")).send().await;
    response.expect("the service answers")
}

/// Waits for the first event.
async fn first_event(stream: &mut Response) {
    let first = stream.chunk().await.expect("it is read").expect("there is an event");
    assert!(first.starts_with(b"event: progress\ndata: {"), "{first:?}");
}

/// A provider whose models respond when the returned sender is dropped.
fn hanging() -> (Stub, mpsc::Sender<()>) {
    let (answer, answering) = mpsc::channel::<()>();
    let answering = Mutex::new(answering);
    let model = move |prompt: &str| {
        let ended = answering.lock().expect("nobody panics").recv();
        assert!(ended.is_err());
        completion(prompt)
    };
    (Stub::start(|_| completion(VERDICT), model), answer)
}

/// A run whose model hangs.
async fn begin_hanging(served: &Served) -> String {
    queries(served, &["one"]).await;
    let metric = metric(served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    begin(served, request).await
}

#[tokio::test]
async fn streams_have_a_separate_limit_and_end_with_the_process() {
    let (stub, answer) = hanging();
    let config = ServerConfig { max_requests: 2, max_streams: 3, ..ServerConfig::default() };
    let served = Served::start_faulty(stub.provider(), config, |storage| storage).await;
    let id = begin_hanging(&served).await;
    let client = client();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = watch(&client, &served.url, &id).await;
        first_event(&mut stream).await;
        streams.push(stream);
    }
    let refused = served.get(&format!("/api/v1/runs/{id}/events")).await;
    assert_eq!(refused.message(503), "too many requests at once (3): try again");
    assert_eq!(refused.header("retry-after"), "1");
    served.get("/api/v1/queries/count").await.data();
    drop(streams.pop());
    // A disconnected client is detected at the next write.
    served.get(&format!("/api/v1/runs/{id}")).await.data();
    served.process.begin_stopping();
    for stream in streams {
        stream.bytes().await.expect("it ends cleanly");
    }
    drop(answer);
}

#[tokio::test]
async fn gateway_streams_events_and_has_its_own_limit() {
    let (stub, answer) = hanging();
    let served = Served::start_faulty(stub.provider(), ServerConfig::default(), |storage| storage).await;
    let id = begin_hanging(&served).await;
    let config = ServerConfig { max_requests: 1, max_streams: 2, ..ServerConfig::default() };
    let gateway = Gateway::before_with(&served.url, config).await;
    let client = client();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = watch(&client, &gateway.url, &id).await;
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        // The model hangs: an event received now was not buffered until the end.
        first_event(&mut stream).await;
        streams.push(stream);
    }
    let get = |path: String| {
        let gateway = &gateway;
        async move { gateway.send(Method::GET, &path, &[], None).await }
    };
    let refused = get(format!("/api/v1/runs/{id}/events")).await;
    assert_eq!(refused.message(503), "too many requests at once (2): try again");
    // Streams do not count towards the gateway's limit of one request.
    get("/api/v1/queries/count".to_owned()).await.data();
    get("/api/v1/runs/unknown/events".to_owned()).await.message(404);
    // Cancellation is sent as an event and ends the streams.
    let cancelled = gateway.send(Method::POST, &format!("/api/v1/runs/{id}/cancel"), &[], None).await;
    cancelled.data();
    drop(answer);
    for stream in streams {
        let rest = stream.text().await.expect("it ends cleanly");
        assert!(rest.contains(r#""state":"cancelled""#), "{rest}");
    }
}

#[tokio::test]
async fn streams_end_cleanly_with_the_gateway_and_with_the_service_behind_it() {
    let (stub, answer) = hanging();
    let served = Served::start_faulty(stub.provider(), ServerConfig::default(), |storage| storage).await;
    let id = begin_hanging(&served).await;
    let client = client();
    let begin_watching = async || {
        let gateway = Gateway::before_with(&served.url, ServerConfig::default()).await;
        let mut stream = watch(&client, &gateway.url, &id).await;
        first_event(&mut stream).await;
        (gateway, stream)
    };
    let (gateway, stream) = begin_watching().await;
    gateway.process.begin_stopping();
    stream.bytes().await.expect("it ends cleanly");
    let (_gateway, stream) = begin_watching().await;
    served.process.begin_stopping();
    stream.bytes().await.expect("it ends cleanly");
    drop(answer);
}

#[tokio::test]
async fn concurrent_readiness_requests_share_one_check() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&checks);
    let stub = Stub::judging(VERDICT);
    let wrap = move |storage| Faulty::counting(storage, &counted);
    let served = Served::start_faulty(stub.provider(), ServerConfig::default(), wrap).await;
    for answer in join_all((0..60).map(|_| served.get("/ready"))).await {
        answer.data();
    }
    // Three storages, each checked about once per second.
    let asked = checks.load(Ordering::Relaxed);
    assert!((3..60).contains(&asked), "{asked}");
}
