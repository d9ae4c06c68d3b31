//! Calls of the services' routes.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Client;
use crate::runs::ended;

/// A kind of records and the names of its fields.
struct Kind {
    path: &'static str,
    text: &'static str,
    category: &'static str,
    by_category: &'static str,
    categories: &'static str,
    /// Whether the routes without a prefix have it too.
    is_in_both_forms: bool,
}

const KINDS: [Kind; 3] = [
    Kind {
        path: "queries",
        text: "query",
        category: "theme",
        by_category: "theme",
        categories: "themes",
        is_in_both_forms: true,
    },
    Kind {
        path: "evaluation-metrics",
        text: "prompt",
        category: "metric_type",
        by_category: "type",
        categories: "types",
        is_in_both_forms: true,
    },
    Kind {
        path: "outputs",
        text: "output",
        category: "theme",
        by_category: "theme",
        categories: "themes",
        is_in_both_forms: false,
    },
];

pub(super) async fn send(client: &mut Client<'_>) {
    for path in ["/health", "/metrics", "/openapi.json", "/docs"] {
        client.get(path).await;
    }
    // A check may take long on a machine under load.
    client.served.wait_for("/ready", StatusCode::OK).await;
    client.calls.push(("GET".to_owned(), "/ready".to_owned()));
    for kind in &KINDS {
        store_and_read(client, kind).await;
        search(client, kind).await;
        change(client, kind).await;
    }
    evaluate(client).await;
    run(client).await;
    label(client).await;
}

impl Kind {
    fn record(&self, id: &str, text: &str, n: u32) -> Value {
        let category = if n.is_multiple_of(2) { "even" } else { "odd" };
        let mut record = json!({
            "id": id, self.text: text, self.category: category,
            "metadata": {"n": n, "timestamp": format!("2026-01-0{}T12:00:00", n % 8 + 1)},
        });
        if self.path == "outputs" {
            record["model_id"] = json!("gpt-4o");
            record["query"] = json!("Why?");
        }
        record
    }
}

async fn store_and_read(client: &mut Client<'_>, kind: &Kind) {
    let path = format!("/api/v1/{}", kind.path);
    let first = kind.record("a", "Why is the sky blue?", 0);
    client.post(&path, first.clone()).await;
    // Once more, and with another text.
    client.post(&path, first.clone()).await;
    client.post(&path, kind.record("a", "Why is grass green?", 0)).await;
    client.post(&path, json!({"id": "z"})).await;
    let words =
        ["How do magnets work?", "Which cheese melts best?", "Who painted the ceiling?", "What is fusion?"];
    let batch: Vec<Value> =
        (1..).zip(words).map(|(n, text)| kind.record(&format!("b{n}"), text, n)).collect();
    client.post(&format!("{path}/batch"), json!({"items": batch})).await;
    let mixed = [kind.record("b1", "Another", 1), kind.record("b7", "Is a new one stored?", 7)];
    for on_error in ["abort", "continue"] {
        client.post(&format!("{path}/batch"), json!({"items": mixed, "on_error": on_error})).await;
    }
    if kind.is_in_both_forms {
        let path = format!("/{}", kind.path);
        client.post(&path, kind.record("c", "How far is the moon?", 3)).await;
        client.get(&format!("{path}/a")).await;
        client.get(&format!("{path}/none")).await;
        client.get(&format!("{path}/{}/odd", kind.by_category)).await;
    }
    let filter = "where=%7B%22n%22%3A%7B%22%24gt%22%3A1%7D%7D";
    for query in [
        "limit=3".to_owned(),
        filter.to_owned(),
        format!("{}=odd&limit=2", kind.category),
        "start_date=2026-01-02&end_date=2026-01-04".to_owned(),
        "where_document=%7B%22%24contains%22%3A%22moon%22%7D".to_owned(),
    ] {
        client.get(&format!("{path}?{query}")).await;
        client.get(&format!("{path}/export?{query}")).await;
        client.get(&format!("{path}/count?{query}")).await;
    }
    for rest in ["a", "none", "count", "export", kind.categories] {
        client.get(&format!("{path}/{rest}")).await;
    }
    for rest in ["even", "odd?limit=2&page=2", "none"] {
        client.get(&format!("{path}/{}/{rest}", kind.by_category)).await;
    }
    client.post(&format!("{path}/fetch"), json!({"ids": ["b2", "a", "none"]})).await;
}

async fn search(client: &mut Client<'_>, kind: &Kind) {
    let path = format!("/api/v1/{}/search", kind.path);
    let words = "Why does the sky have a colour?";
    let searches = [
        json!({kind.text: words, "limit": 3}),
        json!({kind.text: words, "exact": true}),
        json!({kind.text: words, "min_similarity": 0.3}),
        json!({kind.text: words, kind.category: "odd", "limit": 2}),
        json!({kind.text: words, "where": {"n": {"$gte": 2}}}),
        json!({kind.text: "cheese", "mode": "text"}),
        json!({kind.text: "melting cheese", "mode": "hybrid", "limit": 4}),
    ];
    for search in &searches {
        client.post(&path, search.clone()).await;
    }
    client.post(&format!("{path}/batch"), json!({"searches": searches})).await;
    if kind.is_in_both_forms {
        client.post(&format!("/{}/search", kind.path), searches[0].clone()).await;
    }
}

async fn change(client: &mut Client<'_>, kind: &Kind) {
    let path = format!("/api/v1/{}", kind.path);
    client.call("PATCH", &format!("{path}/b1"), json!({"metadata": {"added": [1, "two"]}})).await;
    client.call("PATCH", &format!("{path}/b2"), json!({kind.text: "How do tides work?"})).await;
    client.call("PATCH", &format!("{path}/b3"), json!({kind.category: "moved"})).await;
    client.call("PATCH", &format!("{path}/none"), json!({kind.category: "moved"})).await;
    for id in ["b4", "b4", "none"] {
        client.delete(&format!("{path}/{id}")).await;
    }
    client.get(&format!("{path}?limit=10")).await;
    client.get(&format!("{path}/{}", kind.categories)).await;
}

async fn evaluate(client: &mut Client<'_>) {
    for path in ["/models", "/api/v1/models"] {
        client.get(path).await;
    }
    let model = json!({"id": "own", "name": "Own", "provider": "openai", "is_judge_compatible": true});
    client.post("/api/v1/models", model).await;
    client.get("/api/v1/models").await;
    let alone = json!({"id": "alone", "query": "Is there one query?", "theme": "alone"});
    client.post("/api/v1/queries", alone).await;
    for prefix in ["", "/api/v1"] {
        let query = json!({
            "query": "Why is the sky blue?", "model_id": "gpt-4o", "theme": "even", "evaluation_prompt_ids": ["a"],
        });
        client.post(&format!("{prefix}/evaluate/query"), query).await;
        let theme = json!({"theme": "alone", "model_id": "gpt-4o", "evaluation_prompt_ids": ["a"]});
        client.post(&format!("{prefix}/evaluate/theme"), theme).await;
    }
    let unknown =
        json!({"query": "Why?", "model_id": "gpt-4o", "theme": "t", "evaluation_prompt_ids": ["none"]});
    client.post("/api/v1/evaluate/query", unknown).await;
}

async fn run(client: &mut Client<'_>) {
    let mut runs = Vec::new();
    for name in ["first", "second"] {
        let request = json!({
            "name": name, "query_ids": ["alone"], "models": ["gpt-4o"], "evaluation_prompt_ids": ["a"],
        });
        // The answer depends on how far the run is.
        let created = client.served.post("/api/v1/runs", request.clone()).await.data();
        let id = created["id"].as_str().expect("an id").to_owned();
        client.text(&id);
        client.calls.push(("POST".to_owned(), "/api/v1/runs".to_owned()));
        ended(client.served, &id).await;
        client.get(&format!("/api/v1/runs/{id}")).await;
        runs.push(id);
    }
    let request = json!({"models": ["gpt-4o"], "evaluation_prompt_ids": ["none"], "query_ids": ["alone"]});
    client.post("/api/v1/runs", request).await;
    let path = format!("/api/v1/runs/{}", runs[0]);
    client.get("/api/v1/runs").await;
    client.get("/api/v1/runs?state=completed&limit=1").await;
    client.get(&format!("{path}/events")).await;
    client.get(&format!("{path}/compare/{}?seed=7", runs[1])).await;
    for verb in ["cancel", "resume"] {
        client.post(&format!("{path}/{verb}"), json!({})).await;
    }
    for path in ["/results", "/api/v1/results"] {
        client.get(path).await;
        client.get(&format!("{path}?run_id={}&status=scored", runs[0])).await;
        client.get(&format!("{path}?theme=alone&limit=2&page=2")).await;
    }
    client.get("/api/v1/results/export?format=jsonl").await;
    client.get("/api/v1/results/summary?seed=7").await;
    let labels =
        json!([{"query_id": "alone", "model_id": "gpt-4o", "evaluation_prompt_id": "a", "score": 8}]);
    client.post("/api/v1/results/agreement", json!({"labels": labels})).await;
    client.delete(&path).await;
    client.get(&path).await;
    client.get("/api/v1/outputs?limit=20").await;
}

async fn label(client: &mut Client<'_>) {
    const ID: &str = "0b0e4d4e-5a3f-4c53-9a6c-25ad0dd8e0f1";
    let label = json!({
        "id": ID, "annotator": "ann", "query_id": "alone", "model_id": "gpt-4o", "evaluation_prompt_id": "a",
        "score": 7, "labelled_at": "2026-01-31T12:00:00",
    });
    for _ in 0..2 {
        client.post("/api/v1/labels", json!({"labels": [label]})).await;
    }
    client.get("/api/v1/labels").await;
    client.get("/api/v1/labels/export?format=jsonl").await;
    client.post("/api/v1/results/agreement", json!({"stored": {"annotator": "ann"}})).await;
    for _ in 0..2 {
        client.delete(&format!("/api/v1/labels/{ID}")).await;
    }
    client.get("/api/v1/labels").await;
}
