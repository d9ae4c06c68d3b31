//! hostile: known attacks on a service at once, while honest clients use it.
//!
//! `cargo bench -p bench --bench hostile`. `PANOPTICON_BENCH_SECONDS` says how long the attack lasts (default 120), and
//! `PANOPTICON_BENCH_REST_SECONDS` how long the service then has rest (default 60); `PANOPTICON_BENCH_BINARY` names a
//! program. The attacks are those on stored queries; with `PANOPTICON_BENCH_ATTACKS=all` also those on runs, evaluations,
//! models and results, or only those with the given parts of names, separated by commas (`large,models`). All traffic
//! stays on loopback.
//!
//! `serve` runs with 4 GB of address space (`ulimit -v 4000000`). Its database has rows that no request stores, because
//! they are too large, and its models are those of a provider whose answers have no end. First only honest clients send
//! requests; then all bombs are sent repeatedly, while other clients hold idle connections, responses that they never
//! read, and requests that never end; then nothing for a minute. It fails if the service ends, or exceeds one of the
//! limits below. The report, with how each attack was answered, goes to `target/bench/hostile.json`.

mod attack;
mod bombs;
mod model;
mod rows;

use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{Endpoint, Panopticon, Service, load::Load, write_report};
use provision::Durability;
use serde_json::{Value, json};
use test_support::PostgresServer;
use tokio::{task::JoinSet, time::sleep};

use self::{attack::Attack, model::HostileProvider, rows::SHORT_RECORDS};

const PORT: u16 = 18_131;
const ADDRESS_SPACE_KB: u32 = 4_000_000;
/// How long only honest clients send requests.
const QUIET: Duration = Duration::from_secs(20);
const HEALTH_P99_MS: f64 = 50.0;
const PEAK_MB: f64 = 600.0;
const RESTED_MB: f64 = 250.0;
const SLOWER: f64 = 5.0;
/// Between two honest requests of a client.
const PAUSE: Duration = Duration::from_millis(20);
const HONEST: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let (time, rest) =
        (seconds("PANOPTICON_BENCH_SECONDS", 120)?, seconds("PANOPTICON_BENCH_REST_SECONDS", 60)?);
    let panopticon = Panopticon::find_or_build()?;
    let postgres = PostgresServer::private(Durability::Full, &[]).await;
    let provider = HostileProvider::start().await?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -v {ADDRESS_SPACE_KB}; exec \"$0\" \"$@\""));
    command.arg(panopticon.command().get_program()).arg("serve");
    command.env("DATABASE_URL", postgres.url()).env("OPENAI_BASE_URL", provider.url());
    // Each run that stops would be logged.
    command.env("LOG_LEVEL", "error").env("GATEWAY_PORT", PORT.to_string());
    command.envs(["QUERY_PORT", "EVALUATION_PORT", "JUDGE_PORT"].map(|port| (port, "0")));
    let service = Service::start("panopticon", &mut command, PORT).await?;
    let watched = rows::fill(&service.endpoint(), &postgres).await?;

    let (before, _) = service.memory_mb()?;
    let quiet = honest(service.endpoint(), QUIET).await;
    ensure!(quiet.failures.is_empty(), "honest clients failed while alone: {:?}", quiet.failures[0]);
    let attack = Attack::begin(time, &watched);
    let mut watch = Watch::default();
    let honest = tokio::spawn(honest(service.endpoint(), time));
    let answers = watch.during(&service, attack).await?;
    let (honest, calls) = (honest.await?, provider.calls());
    drop(provider);
    sleep(rest).await;
    let (rested, _) = service.memory_mb().context("the service ended")?;

    let health = watch.health;
    let (quiet_ms, hostile_ms) = (quiet.percentile_ms(0.99), honest.percentile_ms(0.99));
    let report = json!({
        "seconds": time.as_secs(), "health_p99_ms": health.percentile_ms(0.99), "health_failures": health.failures.len(),
        "memory_before_mb": before, "memory_peak_mb": watch.peak_mb, "memory_after_rest_mb": rested,
        "honest_quiet_p99_ms": quiet_ms, "honest_p99_ms": hostile_ms, "honest_requests": honest.latencies.len(),
        "honest_failures": honest.failures.len(), "first_failure": honest.failures.first(), "answers": answers,
        "calls_of_models": calls,
    });
    println!("{report:#}");
    write_report("hostile", &report)?;
    ensure!(health.failures.is_empty(), "/health failed: {}", health.failures[0]);
    ensure!(health.percentile_ms(0.99) < HEALTH_P99_MS, "p99 of /health is not below {HEALTH_P99_MS} ms");
    ensure!(watch.peak_mb < PEAK_MB, "memory was not below {PEAK_MB} MB");
    ensure!(rested < RESTED_MB, "memory after the rest is not below {RESTED_MB} MB");
    ensure!(honest.failures.is_empty(), "an honest request failed: {}", honest.failures[0]);
    ensure!(hostile_ms < SLOWER * quiet_ms, "honest clients' p99 is not below {SLOWER} times the quiet one");
    Ok(())
}

/// The seconds that a variable says.
fn seconds(variable: &str, default: u64) -> Result<Duration> {
    let seconds = match env::var(variable) {
        Ok(seconds) => seconds.parse().with_context(|| format!("{variable} is not a number"))?,
        Err(_) => default,
    };
    Ok(Duration::from_secs(seconds))
}

/// Clients that store, search and read at a fixed rate.
async fn honest(endpoint: Endpoint, time: Duration) -> Load {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..HONEST {
        let endpoint = endpoint.clone();
        clients.spawn(async move {
            let mut load = Load::default();
            let mut number = client;
            while began.elapsed() < time {
                let sent = Instant::now();
                let answer = match number % 3 {
                    0 => endpoint.get(&format!("/api/v1/queries/short{}", number % SHORT_RECORDS)).await,
                    1 => {
                        let search =
                            json!({ "query": format!("question {number}"), "theme": "short", "limit": 5 });
                        endpoint.post("/api/v1/queries/search", &search).await
                    }
                    _ => {
                        let query = json!({ "query": format!("Is {number} new?"), "theme": "stored" });
                        endpoint.post("/api/v1/queries", &query).await
                    }
                };
                match answer {
                    Ok(_) => load.latencies.push(sent.elapsed()),
                    Err(failure) => load.failures.push(failure),
                }
                number += HONEST;
                sleep(PAUSE).await;
            }
            load
        });
    }
    let mut all = Load { elapsed: time, ..Load::default() };
    while let Some(load) = clients.join_next().await {
        let load = load.expect("clients do not panic");
        all.latencies.extend(load.latencies);
        all.failures.extend(load.failures);
    }
    all.latencies.sort_unstable();
    all
}

/// Measurements of the service during the attack.
#[derive(Default)]
struct Watch {
    health: Load,
    peak_mb: f64,
}

impl Watch {
    /// Measures until the attack is over; returns how its bombs were answered.
    async fn during(&mut self, service: &Service, attack: Attack) -> Result<Value> {
        let (began, endpoint) = (Instant::now(), service.endpoint());
        while began.elapsed() < attack.time {
            let sent = Instant::now();
            match endpoint.get("/health").await {
                Ok(_) => self.health.latencies.push(sent.elapsed()),
                Err(failure) => self.health.failures.push(failure),
            }
            let (now, _) = service.memory_mb().context("the service ended")?;
            self.peak_mb = self.peak_mb.max(now);
            sleep(PAUSE).await;
        }
        self.health.latencies.sort_unstable();
        Ok(json!(attack.end().await))
    }
}
