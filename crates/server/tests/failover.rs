//! A primary that fails, and a standby as the only server, as clients see them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::json;
use server::ServerConfig;
use test_support::{PostgresCluster, Replication};

use crate::served::{Answer, PATIENCE, Served};

const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

/// Checks that an answer is a success, or asks for a retry. Whether it is a success.
fn is_served(answer: &Answer, path: &str) -> bool {
    if answer.status == 503 {
        assert_eq!(answer.header("retry-after"), "1", "{path}: {answer:?}");
        return false;
    }
    assert!(matches!(answer.status, 200 | 201), "{path}: {answer:?}");
    true
}

#[tokio::test]
async fn requests_during_a_promotion_succeed_or_are_answered_503() {
    const CLIENTS: usize = 6;
    let mut cluster = PostgresCluster::start(1, Replication::Synchronous, &[]).await;
    let url = cluster.url_of(&[1, 0], "target_session_attrs=read-write");
    let served = Arc::new(Served::start_on(&url, ServerConfig::default()).await);
    let made = served.post(COLLECTIONS, json!({"name": "records"})).await;
    let collection = made.json()["id"].as_str().expect("it has an id").to_owned();
    let is_promoted = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (served, is_promoted) = (Arc::clone(&served), Arc::clone(&is_promoted));
            let collection = collection.clone();
            tokio::spawn(async move {
                let end = Instant::now() + PATIENCE;
                let (mut stored, mut failures, mut after) = (Vec::new(), 0, 0);
                for number in 0.. {
                    let was_promoted = is_promoted.load(Ordering::SeqCst);
                    let query = json!({"query": format!("why {client} {number}"), "theme": "t"});
                    let answer = served.post("/api/v1/queries", query).await;
                    let is_stored = is_served(&answer, "queries");
                    if is_stored {
                        stored.push(answer.json()["data"]["id"].as_str().expect("it has an id").to_owned());
                    }
                    let records = json!({"ids": [format!("{client}-{number}")], "embeddings": [[1.0, 2.0]]});
                    let path = format!("{COLLECTIONS}/{collection}/upsert");
                    let is_upserted = is_served(&served.post(&path, records).await, &path);
                    let mut is_read = true;
                    for path in ["/api/v1/queries?limit=2", "/api/v1/queries/themes", "/api/v1/results"] {
                        is_read &= is_served(&served.get(path).await, path);
                    }
                    let search = json!({"query": "why", "limit": 3});
                    is_read &= is_served(&served.post("/api/v1/queries/search", search).await, "search");
                    let is_all = is_stored && is_upserted && is_read;
                    failures += usize::from(!is_all);
                    after += usize::from(is_all && was_promoted);
                    if after == 5 {
                        break;
                    }
                    assert!(Instant::now() < end, "all is served after the promotion: {failures} failures");
                }
                (stored, failures)
            })
        })
        .collect();
    let is_filled = |answer: &Answer| {
        answer.status == 200 && answer.data()["count"].as_u64().expect("a count") >= 3 * CLIENTS as u64
    };
    served.wait_until("/api/v1/queries/count", is_filled).await;
    cluster.fail_over().await;
    is_promoted.store(true, Ordering::SeqCst);
    let (mut stored, mut failures) = (Vec::new(), 0);
    for client in clients {
        let (ids, failed) = client.await.expect("the client ends");
        stored.extend(ids);
        failures += failed;
    }
    assert!(failures > 0, "requests fail while there is no primary");
    for id in &stored {
        served.get(&format!("/api/v1/queries/{id}")).await.data();
    }
    served.wait_for("/ready", StatusCode::OK).await;
    println!("{} stored, {failures} failures", stored.len());
}

#[tokio::test]
async fn lone_standby_is_not_ready_for_writes_until_it_is_promoted() {
    let mut cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    let primary = Served::start_on(&cluster.server(0).url(), ServerConfig::default()).await;
    let stored = primary.post("/api/v1/queries", json!({"query": "why?", "theme": "t"})).await.data();
    let id = stored["id"].as_str().expect("it has an id");
    let made = primary.post(COLLECTIONS, json!({"name": "records"})).await.json();
    let collection = made["id"].as_str().expect("it has an id");
    primary.shutdown.begin();
    cluster.wait_for_replay(1).await;

    let served = Served::start_on(&cluster.server(1).url(), ServerConfig::default()).await;
    for path in ["/api/v1/queries?limit=2", "/api/v1/queries/themes", "/api/v1/runs", COLLECTIONS] {
        assert_eq!(served.get(path).await.status, 200, "{path}");
    }
    assert_eq!(served.get(&format!("/api/v1/queries/{id}")).await.data()["query"], "why?");
    let search = served.post("/api/v1/queries/search", json!({"query": "why"})).await;
    assert_eq!(search.status, 200, "{search:?}");
    let refused = served.post("/api/v1/queries", json!({"query": "how?", "theme": "t"})).await;
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.message(503).contains("accepts no writes at present"), "{refused:?}");
    let upsert = json!({"ids": ["a"], "embeddings": [[1.0, 2.0]]});
    let refused = served.post(&format!("{COLLECTIONS}/{collection}/upsert"), upsert.clone()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");
    assert!(refused.text.contains("accepts no writes at present"), "{refused:?}");
    let unready = served.wait_for("/ready", StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(unready.text.contains("accepts no writes at present"), "{unready:?}");
    assert_eq!(served.get("/health").await.status, 200);

    cluster.fail_over().await;
    let end = Instant::now() + PATIENCE;
    while !is_served(&served.post("/api/v1/queries", json!({"query": "how?", "theme": "t"})).await, "queries")
    {
        assert!(Instant::now() < end, "writes are accepted");
        // Only a request tells whether writes are accepted again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served.wait_for("/ready", StatusCode::OK).await;
    let accepted = served.post(&format!("{COLLECTIONS}/{collection}/upsert"), upsert).await;
    assert!(is_served(&accepted, "upsert"));
}
