//! A worker that does not answer for some time.

use reqwest::StatusCode;
use serde_json::json;
use server::ServerConfig;
use test_support::CitusDatabase;

use crate::served::Served;

const RECORDS: u32 = 20;

#[tokio::test]
async fn requests_that_need_a_lost_worker_are_answered_503_until_it_is_back() {
    let Some((citus, proxy)) = CitusDatabase::create_behind_a_proxy().await else { return };
    citus.distributed().await.close().await;
    let served = Served::start_on(&citus.url(), ServerConfig::default()).await;
    let queries: Vec<_> = (0..RECORDS)
        .map(|n| json!({"id": format!("q{n}"), "query": format!("Why {n}?"), "theme": "t"}))
        .collect();
    served.post("/api/v1/queries/batch", json!({"items": queries})).await.data();
    served.wait_for("/ready", StatusCode::OK).await;

    proxy.refuse();
    let (mut found, mut failed) = (0, 0);
    for n in 0..RECORDS {
        let answer = served.get(&format!("/api/v1/queries/q{n}")).await;
        match answer.status {
            200 => found += 1,
            _ => {
                answer.message(503);
                assert_eq!(answer.header("retry-after"), "1", "{answer:?}");
                failed += 1;
            }
        }
    }
    assert!(found > 0 && failed > 0, "{found} are found, and {failed} are not");
    for path in ["/api/v1/queries/count", "/api/v1/queries?limit=3", "/api/v1/queries/themes"] {
        served.get(path).await.message(503);
    }
    served.post("/api/v1/queries/search", json!({"query": "Why?"})).await.message(503);
    for path in ["/api/v1/models", "/api/v1/runs", "/api/v1/results", "/health"] {
        served.get(path).await.data();
    }
    served.wait_for("/ready", StatusCode::SERVICE_UNAVAILABLE).await;

    proxy.accept();
    served.wait_for("/ready", StatusCode::OK).await;
    let is_whole = |answer: &crate::served::Answer| answer.status == 200;
    for n in 0..RECORDS {
        served.wait_until(&format!("/api/v1/queries/q{n}"), is_whole).await;
    }
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], RECORDS);
    served.post("/api/v1/queries/search", json!({"query": "Why?"})).await.data();
    served.shutdown.begin();
    served.database.close().await;
    citus.remove().await;
}
