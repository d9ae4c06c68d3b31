//! judge: overhead of a run compared with the provider's latency.
//!
//! `cargo bench -p bench --bench judge`. `PANOPTICON_BENCH_UNITS` says how many judgements (default 9,600: some 30 s);
//! `PANOPTICON_BENCH_BINARY` names the program.
//!
//! A mock provider answers each call after 100 ms. With 32 concurrent calls of the judge the ideal is 320 per second.
//! The command line executes a run, stores every attempt, output and result in a PostgreSQL with full durability, and
//! embeds the outputs. The rate counts the judge's calls that the mock finished between the first and the last
//! twentieth. The report goes to `target/bench/judge.json`.

use std::{
    env,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{Panopticon, Service, run_measured, write_report};
use provision::Durability;
use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpStub, PostgresServer};

const AT_ONCE: usize = 32;
const LATENCY: Duration = Duration::from_millis(100);
const METRICS: usize = 24;
const PORT: u16 = 18_121;

#[tokio::main]
async fn main() -> Result<()> {
    let units: usize = match env::var("PANOPTICON_BENCH_UNITS") {
        Ok(units) => units.parse().context("PANOPTICON_BENCH_UNITS is not a number")?,
        Err(_) => 9_600,
    };
    let panopticon = Panopticon::find_or_build()?;
    let postgres = PostgresServer::private(Durability::Full, &[]).await;
    let database = postgres.create_database("judge").await;
    let metrics = prepare(&panopticon, &database, units / METRICS).await?;
    let (provider, ended) = provider();

    let mut command = panopticon.command();
    command.args(["judge", "run", "--json", "--theme", "bench", "--model", "gpt-4o", "--judge", "gpt-4"]);
    command.args(["--limit", "100000", "--no-cache"]);
    command.args(metrics.iter().flat_map(|metric| ["--metric", metric]));
    command.env("DATABASE_URL", &database).env("OPENAI_BASE_URL", provider.url());
    command.env("OPENAI_API_KEY", "any").env("MODEL_MAX_CONCURRENCY", AT_ONCE.to_string());
    let finished = tokio::task::block_in_place(|| run_measured(&mut command))?;
    let run: Value = serde_json::from_str(&finished.stdout).with_context(|| finished.stderr.clone())?;
    let scored = run["units"]["scored"].as_u64();
    ensure!(scored == Some((units / METRICS * METRICS) as u64), "every unit has a score: {run}");

    let per_second = rate(&ended.lock().expect("the provider does not panic"));
    let ideal = AT_ONCE as f64 / LATENCY.as_secs_f64();
    println!("{units} judgements in {:.1} s, {:.0} MB", finished.seconds, finished.peak_rss_mb);
    println!(
        "{per_second:.1} judge calls per second, {:.1} % of the ideal {ideal:.0}",
        per_second / ideal * 100.0
    );
    let report = json!({
        "units": units, "seconds": finished.seconds, "peak_rss_mb": finished.peak_rss_mb,
        "judge_calls_per_second": per_second, "of_ideal": per_second / ideal,
    });
    write_report("judge", &report)
}

/// Stores queries and metrics; returns the metrics' ids.
async fn prepare(panopticon: &Panopticon, database: &str, queries: usize) -> Result<Vec<String>> {
    let mut command = panopticon.command();
    command.arg("serve").env("DATABASE_URL", database).env("GATEWAY_PORT", PORT.to_string());
    command.envs(["QUERY_PORT", "EVALUATION_PORT", "JUDGE_PORT"].map(|port| (port, "0")));
    let service = Service::start("serve", &mut command, PORT).await?;
    let endpoint = service.endpoint();
    for first in (0..queries).step_by(500) {
        let items: Vec<Value> = (first..queries.min(first + 500))
            .map(|query| json!({"query": format!("What is special about the number {query}?"), "theme": "bench"}))
            .collect();
        let stored = endpoint.post("/api/v1/queries/batch", &json!({"items": items})).await;
        stored.map_err(anyhow::Error::msg)?;
    }
    let mut metrics = Vec::new();
    for metric in 0..METRICS {
        let body =
            json!({"prompt": format!("Is the answer good in the way {metric}?"), "metric_type": "bench"});
        let stored = endpoint.post("/api/v1/evaluation-metrics", &body).await.map_err(anyhow::Error::msg)?;
        metrics.push(stored["id"].as_str().context("no id")?.to_owned());
    }
    Ok(metrics)
}

/// A mock provider, and when it finished each call of the judge.
fn provider() -> (HttpStub, Arc<Mutex<Vec<Instant>>>) {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&ended);
    let stub = HttpStub::start(move |request| {
        let begun = Instant::now();
        let body: Value = serde_json::from_slice(&request.body).expect("a JSON body");
        let is_judge = body["model"] == "gpt-4";
        let text =
            if is_judge { r#"{"rationale": "It is.", "score": 8}"# } else { "Every number is special." };
        let answer = json!({
            "model": body["model"], "usage": {"prompt_tokens": 100, "completion_tokens": 20},
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        });
        let answer = HttpAnswer::json(200, &answer.to_string());
        thread::sleep(LATENCY.saturating_sub(begun.elapsed()));
        if is_judge {
            noted.lock().expect("nobody panics").push(Instant::now());
        }
        Some(answer)
    });
    (stub, ended)
}

/// Calls per second between the first and the last twentieth.
fn rate(ended: &[Instant]) -> f64 {
    let twentieth = ended.len() / 20;
    let (first, last) = (ended[twentieth], ended[ended.len() - 1 - twentieth]);
    (ended.len() - 1 - 2 * twentieth) as f64 / (last - first).as_secs_f64()
}
