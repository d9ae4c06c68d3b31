//! A full disk: `/ready` reports it for each of the server's disks, until there is space again.

use provision::Durability;
use reqwest::StatusCode;
use serde_json::{Value, json};
use server::ServerConfig;
use test_support::{PostgresServer, SmallTablespace};

use crate::served::Served;

/// The failed checks, each with its reason.
async fn unready(served: &Served) -> Vec<(String, String)> {
    let unready = served.wait_for("/ready", StatusCode::SERVICE_UNAVAILABLE).await.json();
    let checks = unready["data"]["checks"].as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let failed = checks.iter().filter(|check| check["ready"] == false);
    failed.map(|check| (text(&check["name"]), text(&check["reason"]))).collect()
}

/// The checks that fail while the disk that holds only `moved` is full.
async fn named_while_full(moved: &[&str]) -> Option<Vec<String>> {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let mut tablespace = SmallTablespace::create(&server, "filled", 48).await?;
    tablespace.execute("alter database filled reset default_tablespace").await;
    let served = Served::start_on(tablespace.url(), ServerConfig::default()).await;
    let space = tablespace.tablespace_name();
    for relation in moved {
        tablespace.execute(&format!("alter {relation} set tablespace {space}")).await;
    }
    served.get("/ready").await.data();
    tablespace.fill().await;
    let failed = unready(&served).await;
    for (name, reason) in &failed {
        assert!(reason.contains("No space left on device"), "{name}: {reason}");
    }
    // Stored records can still be read.
    served.get("/api/v1/queries/count").await.data();
    served.get("/health").await.data();
    tablespace.grow(96);
    served.wait_for("/ready", StatusCode::OK).await;
    served.post("/api/v1/queries", json!({"query": "Why?", "theme": "t"})).await.data();
    Some(failed.into_iter().map(|(name, _)| name).collect())
}

#[tokio::test]
async fn full_disk_under_a_table_is_reported_until_there_is_space() {
    let Some(named) = named_while_full(&["table queries"]).await else { return };
    assert_eq!(named, ["query storage (postgres)"]);
}

#[tokio::test]
async fn full_disk_under_an_index_or_under_results_is_reported() {
    let moved = ["index evaluation_metrics_pkey", "table evaluation_results"];
    let Some(named) = named_while_full(&moved).await else { return };
    assert_eq!(named, ["evaluation storage (postgres)", "judge storage (postgres)"]);
}
