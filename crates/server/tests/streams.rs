//! Streams of events: how many, what they cost, and how they end; and how often others are asked whether all is well.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use futures_util::future::join_all;
use reqwest::{Client, Response};
use serde_json::json;
use server::ServerConfig;

use crate::{
    evaluations::{Stub, completion, metric},
    faulty::Faulty,
    runs::{VERDICT, begin, queries},
    served::{Served, client},
};

async fn watch(client: &Client, served: &Served, id: &str) -> Response {
    let response = client.get(format!("{}/api/v1/runs/{id}/events", served.url)).send().await;
    response.expect("the service answers")
}

#[tokio::test]
async fn streams_have_a_budget_of_their_own_and_end_with_the_process() {
    let (answer, answering) = mpsc::channel::<()>();
    let answering = Mutex::new(answering);
    let stub = Stub::start(
        |_| completion(VERDICT),
        move |prompt| {
            // Until the test lets go: nothing is ever sent.
            let ended = answering.lock().expect("nobody panics").recv();
            assert!(ended.is_err());
            completion(prompt)
        },
    );
    let config = ServerConfig { max_requests: 2, max_streams: 3, ..ServerConfig::default() };
    let served = Served::start_faulty(stub.provider(), config, |storage| storage).await;
    queries(&served, &["one"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    let client = client();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = watch(&client, &served, &id).await;
        let first = stream.chunk().await.expect("it is read").expect("there is an event");
        assert!(first.starts_with(b"event: progress\ndata: {"), "{first:?}");
        streams.push(stream);
    }
    let refused = served.get(&format!("/api/v1/runs/{id}/events")).await;
    assert_eq!(refused.message(503), "too many requests at once (3): try again");
    assert_eq!(refused.header("retry-after"), "1");
    served.get("/api/v1/queries/count").await.data();
    drop(streams.pop());
    // A client that has gone is noticed when it is written to.
    served.get(&format!("/api/v1/runs/{id}")).await.data();
    served.process.begin_stopping();
    for stream in streams {
        stream.bytes().await.expect("it ends, and well");
    }
    drop(answer);
}

#[tokio::test]
async fn others_are_asked_once_however_many_ask_whether_all_is_well() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&checks);
    let stub = Stub::judging(VERDICT);
    let wrap = move |storage| Faulty::counting(storage, &counted);
    let served = Served::start_faulty(stub.provider(), ServerConfig::default(), wrap).await;
    for answer in join_all((0..60).map(|_| served.get("/ready"))).await {
        answer.data();
    }
    // Three storages, about once a second.
    let asked = checks.load(Ordering::Relaxed);
    assert!((3..60).contains(&asked), "{asked}");
}
