//! What is stored before the load: records of honest clients, and what attacks read.

use std::ops::Range;

use anyhow::{Context as _, Result};
use bench::Endpoint;
use serde_json::{Value, json};
use test_support::PostgresServer;

use crate::model::MODELS;

/// Queries that honest clients read.
pub(crate) const SHORT_RECORDS: usize = 500;
/// Bytes of the longest text that fits in a request.
pub(crate) const LARGE: usize = 14_000_000;
/// Queries of a run.
const RUN_QUERIES: usize = 120;

/// Stores all of it. Returns the id of a run that stays under way.
pub(crate) async fn fill(endpoint: &Endpoint, postgres: &PostgresServer) -> Result<String> {
    let post = async |path: &str, body: Value| {
        endpoint.post(path, &body).await.map_err(anyhow::Error::msg).with_context(|| format!("POST {path}"))
    };
    let queries = async |numbers: Range<usize>, theme: &str| {
        let query = |n| json!({ "id": format!("{theme}{n}"), "query": format!("Why is question {n} asked?"), "theme": theme });
        post("/api/v1/queries/batch", json!({ "items": numbers.map(query).collect::<Vec<_>>() })).await
    };
    queries(0..SHORT_RECORDS, "short").await?;
    queries(0..RUN_QUERIES, "run").await?;
    // Others like it are copied.
    let long = json!({ "id": "big0", "query": "0 ".repeat(400_000), "theme": "big" });
    post("/api/v1/queries", long).await?;
    let large = json!({ "id": "large", "query": "w ".repeat(LARGE / 2), "theme": "large" });
    post("/api/v1/queries", large).await?;
    for (id, prompt) in [("helpful", "Is it helpful?".to_owned()), ("large", "w ".repeat(LARGE / 2))] {
        let metric = json!({ "id": id, "prompt": prompt, "metric_type": "hostile" });
        post("/api/v1/evaluation-metrics", metric).await?;
    }
    for id in MODELS.into_iter().chain(["judge"]) {
        post("/api/v1/models", json!({ "id": id, "provider": "openai" })).await?;
    }
    // A plan of the maximum size, whose budget allows no calls. `rows` copies it.
    let mut planned = run(&["judge"], "helpful");
    planned["budget"] = json!({ "requests": 0 });
    planned["metadata"] = json!({ "k": "m".repeat(60_000) });
    post("/api/v1/runs", planned).await?;
    postgres.execute(&rows()).await;
    let watched = post("/api/v1/runs", run(&["drips"], "helpful")).await?;
    let id = watched["id"].as_str().context("a run without an id")?.to_owned();
    let named = format!("update runs set name = repeat('n', {LARGE}) where id = '{id}'");
    postgres.execute(&named).await;
    Ok(id)
}

/// A run of many queries.
pub(crate) fn run(models: &[&str], metric: &str) -> Value {
    json!({
        "theme": "run", "models": models, "judge_models": ["judge"], "evaluation_prompt_ids": [metric],
        "use_cache": false,
    })
}

/// What no request stores any more, but other programs and earlier versions can have stored.
fn rows() -> String {
    let long = "insert into queries (query_text, embedding, theme, metadata, created_at)
        select replace(query_text, '0', n::text), embedding, theme, metadata, created_at
        from queries, generate_series(1, 39) n where theme = 'big'";
    let queries = "insert into queries (query_text, embedding, theme, metadata, created_at)
        select q.query_text, q.embedding, 'themes ' || n || repeat(' t', 2000000), q.metadata, q.created_at
        from generate_series(1, 40) n, (select * from queries where theme = 'short' limit 1) q";
    let results = "insert into evaluation_results (id, query_id, query_text, output_text, model_id, theme,
            evaluation_prompt_id, evaluation_prompt, score, judge_model, timestamp, result_metadata)
        select 'themes ' || n, 'q', 'q', 'o', 'm', n || repeat(' t', 2000000), 'p', 'p', 5, 'j', now(), '{}'
        from generate_series(1, 150) n";
    let models = "insert into models (id, name, provider, is_judge_compatible)
        select 'named ' || n, repeat('n', 14000000), 'openai', true from generate_series(1, 20) n";
    let runs =
        "insert into runs (id, name, plan, allowance, state, stop_reason, created_at, began_at, ended_at)
        select gen_random_uuid(), name, plan, allowance, 'stopped', 'copied', created_at, began_at, began_at
        from runs, generate_series(1, 99)";
    let plans =
        "update runs set plan = jsonb_set(plan::jsonb, '{metadata,k}', to_jsonb(repeat('m', 14000000)))::text
        where id in (select id from runs limit 25)";
    [long, queries, results, models, runs, plans].join(";\n")
}
