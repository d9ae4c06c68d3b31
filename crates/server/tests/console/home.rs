//! The overview, and what pages link to.

use std::sync::Arc;

use records::Service;
use reqwest::Method;
use serde_json::json;
use server::{ApiKey, Probes, Process, ServerConfig, services};
use store::{
    postgres::{
        PostgresStorage,
        searches::{FilterClass, MeasuredRecall, SearchHistory},
    },
    storage::Storage,
};

use super::Browser;
use crate::{
    evaluations::{Stub, metric},
    gateway::Gateway,
    runs::{VERDICT, begin, ended, queries},
    served::{Served, client, listen, model, send_to},
};

#[tokio::test]
async fn commands_name_the_address_of_the_request() {
    let served = Served::start().await;
    let gateway = Gateway::before_with(&served.url, ServerConfig::default()).await;
    for url in [&served.url, &gateway.url] {
        let address = url.strip_prefix("http://").expect("a URL");
        let page = send_to(&client(), url, Method::GET, "/", &[], None).await.text;
        for path in ["queries", "evaluation-metrics"] {
            assert!(page.contains(&format!("curl {address}/api/v1/{path} ")), "{page}");
        }
        assert!(!page.contains(":8000") && !page.contains("X-API-Key"), "{page}");
    }
    let named = served.send(Method::GET, "/", &[("host", "localhost:18931")], None).await.text;
    assert!(named.contains("curl localhost:18931/api/v1/queries"), "{named}");
    let api_key = Some(ApiKey::new("s3cret"));
    let locked = Served::start_with(ServerConfig { api_key, ..ServerConfig::default() }).await;
    let headers = [("x-api-key", "s3cret"), ("host", "a;id")];
    let page = locked.send(Method::GET, "/", &headers, None).await.text;
    assert!(page.contains("curl HOST:PORT/api/v1/queries"), "no command has what a shell would run: {page}");
    assert!(page.contains("X-API-Key: KEY"), "{page}");
}

#[tokio::test]
async fn pages_link_only_to_sections_of_their_address() {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider(stub.provider()).await;
    queries(&served, &["one"]).await;
    let metric = metric(&served, "Is it correct?", json!({})).await;
    let request = json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": [metric]});
    let id = begin(&served, request).await;
    ended(&served, &id).await;
    let path = format!("/console/runs/{id}");
    let whole = Browser::new(&served).get(&path).await.text;
    assert!(whole.contains("href=\"/console/evaluation-metrics/record?id="), "{whole}");
    let record = format!("/console/evaluation-metrics/record?id={metric}");
    let results = format!("href=\"/console/compare?evaluation_prompt_id={metric}\"");
    assert!(served.get(&record).await.text.contains(&results), "a metric leads to its results");
    let metrics_alone = [("x-panopticon-services", "evaluation")];
    let page = served.send(Method::GET, &record, &metrics_alone, None).await.text;
    assert!(page.contains("Edit") && !page.contains("/console/compare"), "{page}");
    let judge_alone = [("x-panopticon-services", "judge")];
    for path in [&path, "/console/runs", "/console/compare", "/console/outputs"] {
        let page = served.send(Method::GET, path, &judge_alone, None).await;
        assert_eq!(page.status, 200, "{path}");
        for other in ["/console/queries", "/console/evaluation-metrics"] {
            assert!(
                !page.text.contains(&format!("href=\"{other}")),
                "{path} links to {other}: {}",
                page.text
            );
        }
    }
}

#[tokio::test]
async fn indexes_are_those_of_search_quality_and_alerts_those_of_the_history() {
    let served = Served::start().await;
    let now = records::timestamp::now();
    let row = |minutes: i64, mean: f64| SearchHistory {
        table: "queries".to_owned(),
        filter_class: FilterClass::None,
        measured_at: now - time::Duration::minutes(minutes),
        seconds: 300.0,
        searches: 40,
        latency: None,
        wanted: 400,
        returned: 400,
        replayed: 20,
        missing: 0,
        recall: Some(MeasuredRecall { mean, low: mean - 0.01, high: mean + 0.001 }),
        target: 0.98,
        rows: 50_000,
    };
    let history = [row(3_000, 0.5), row(2_995, 0.999), row(60, 0.6)];
    served.database.store_search_history(&history).await.expect("it is stored");
    let mut browser = Browser::new(&served);
    let (home, quality) = (browser.data("/").await, browser.data("/console/quality").await);
    let indexes = home["indexes"].as_array().expect("a list");
    let of = |table: &str| {
        let found = quality["tables"].as_array().expect("a list").iter().find(|one| one["table"] == table);
        found.unwrap_or_else(|| panic!("{table}: {quality}")).clone()
    };
    assert_eq!((indexes.len(), &home["more_tables"]), (3, &json!(0)), "{home}");
    for index in indexes {
        let shown = of(index["table"].as_str().expect("a name"));
        for (field, value) in index.as_object().expect("an object") {
            assert_eq!(&shown[field], value, "{field}");
        }
    }
    let past = home["past_alerts"].as_array().expect("a list");
    let events: Vec<&str> = past.iter().filter_map(|alert| alert["event"].as_str()).collect();
    assert_eq!(events, ["raised", "cleared", "raised"], "{past:?}");
    assert!(past.iter().all(|alert| alert["table"] == "queries" && alert["alert"] == "recall"), "{past:?}");
    let page = browser.get("/").await.text;
    assert!(page.contains("Last alerts") && page.contains("/console/quality/table?name=queries"), "{page}");
    // Behind a gateway, services that share a database have each table once.
    let gateway = Gateway::before_with(&served.url, ServerConfig::default()).await;
    let behind = send_to(&client(), &gateway.url, Method::GET, "/?format=json", &[], None).await.json();
    assert_eq!((&behind["indexes"], &behind["past_alerts"]), (&home["indexes"], &home["past_alerts"]));
}

#[tokio::test]
async fn judge_without_runs_says_so() {
    let served = Served::start().await;
    let storage: Arc<dyn Storage> = Arc::new(PostgresStorage::new(served.database.clone(), Service::Judge));
    let process = Process::new(ServerConfig::default(), Probes::default());
    let url = listen(services(&[storage], None, &model(), None, &process)).await;
    for section in ["/console/runs", "/console/compare", "/console/outputs"] {
        let page = send_to(&client(), &url, Method::GET, section, &[], None).await;
        assert_eq!(page.status, 200, "{section}");
        assert!(page.text.contains("class=\"empty\""), "{section}: {}", page.text);
    }
}
