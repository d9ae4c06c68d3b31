//! The overview, and what pages link to.

use std::sync::Arc;

use records::Service;
use reqwest::Method;
use serde_json::json;
use server::{ApiKey, Probes, Process, ServerConfig, services};
use store::{postgres::PostgresStorage, storage::Storage};

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
