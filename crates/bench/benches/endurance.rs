//! endurance: two minutes of mixed load on 32 connections, then the same while the database is killed repeatedly.
//!
//! `cargo bench -p bench --bench endurance`. `PANOPTICON_BENCH_SECONDS` says how long each part lasts (default 120);
//! `PANOPTICON_BENCH_BINARY` and `PANOPTICON_BENCH_CHROMA` name programs, as for the benchmark `service`.
//!
//! 1. On PostgreSQL and on ChromaDB: stores, searches and reads; none may fail.
//! 2. PostgreSQL is killed and restarted periodically: a request may fail only with 503, the service must recover
//!    within seconds, and at the end every acknowledged record must be readable by its id.
//!
//! It fails if one of these conditions is not met. The report goes to `target/bench/endurance.json`.

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{
    Endpoint, Kind, Panopticon, Service, chroma_program, folder,
    load::{Load, Until, drive},
    texts, write_report,
};
use provision::Durability;
use serde_json::{Value, json};
use test_support::PostgresServer;

const CONNECTIONS: usize = 32;
const KILLS: u32 = 3;
/// How long PostgreSQL stays down.
const AWAY: Duration = Duration::from_secs(3);
/// How soon the service must recover after PostgreSQL does.
const RECOVERY: Duration = Duration::from_secs(10);
const SEED: u64 = 5;
const PORT: u16 = 18_111;

#[tokio::main]
async fn main() -> Result<()> {
    let seconds = match env::var("PANOPTICON_BENCH_SECONDS") {
        Ok(seconds) => seconds.parse().context("PANOPTICON_BENCH_SECONDS is not a number")?,
        Err(_) => 120,
    };
    let time = Duration::from_secs(seconds);
    let chroma =
        chroma_program().context("program `chroma` is neither on PATH nor in PANOPTICON_BENCH_CHROMA")?;
    let panopticon = Panopticon::find_or_build()?;
    let (texts, _) = texts(Kind::Queries, 2_000, usize::MAX, SEED)?;
    let mix = Mix { texts: Arc::new(texts), stored: Arc::default() };

    let mut postgres = PostgresServer::private(Durability::Full, &[]).await;
    let database = postgres.create_database("endurance").await;
    let serve = || {
        let mut command = panopticon.command();
        command.args(["serve", "query", "--port", &PORT.to_string()]);
        command
    };
    let service = Service::start("postgres", serve().env("DATABASE_URL", &database), PORT).await?;
    let steady = steady(&service, &mix.renewed(), time).await?;
    let killed = under_kills(&service, &mut postgres, &mix.renewed(), time).await?;
    drop(service);

    let directory = folder()?.join("endurance-chroma");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let mut command = serve();
    command.env("QUERY_STORAGE_TYPE", "chroma").env("CHROMA_PERSIST_DIRECTORY", &directory);
    command.env("PATH", chroma.parent().context("the program has no folder")?);
    let service = Service::start("chroma", &mut command, PORT).await?;
    let on_chroma = self::steady(&service, &mix.renewed(), time).await?;

    let report = json!({ "seconds": seconds, "connections": CONNECTIONS, "postgres": steady, "chroma": on_chroma,
        "postgres_killed": killed });
    println!("{report:#}");
    write_report("endurance", &report)
}

/// The requests to send.
#[derive(Clone)]
struct Mix {
    texts: Arc<Vec<String>>,
    /// Ids of acknowledged records. Shared by the tasks that send requests.
    stored: Arc<Mutex<Vec<String>>>,
}

impl Mix {
    /// The same texts, with no stored ids.
    fn renewed(&self) -> Self {
        Self { texts: Arc::clone(&self.texts), stored: Arc::default() }
    }

    /// Of ten requests five store, three search, two read.
    async fn send(self, endpoint: Endpoint, number: u64) -> Result<(), String> {
        let text = &self.texts[usize::try_from(number).expect("few requests") % self.texts.len()];
        let known = {
            let stored = self.stored.lock().expect("no holder panics");
            stored.get(stored.len() / 2).cloned()
        };
        match (number % 10, known) {
            (5..=7, _) => {
                let found =
                    endpoint.post("/api/v1/queries/search", &json!({ "query": text, "limit": 10 })).await?;
                found.as_array().map(drop).ok_or_else(|| format!("no list: {found}"))
            }
            (8..=9, Some(id)) => {
                let found = endpoint.get(&format!("/api/v1/queries/{id}")).await?;
                if found["id"] == id { Ok(()) } else { Err(format!("another record: {found}")) }
            }
            _ => {
                let query = json!({ "query": format!("{number}: {text}"), "theme": "endurance" });
                let stored = endpoint.post("/api/v1/queries", &query).await?;
                let id = stored["id"].as_str().ok_or_else(|| format!("no id: {stored}"))?.to_owned();
                self.stored.lock().expect("no holder panics").push(id);
                Ok(())
            }
        }
    }

    async fn drive(&self, service: &Service, time: Duration) -> Load {
        let (mix, endpoint) = (self.clone(), service.endpoint());
        drive(CONNECTIONS, Until::Elapsed(time), move |number| mix.clone().send(endpoint.clone(), number))
            .await
    }

    /// How many of the stored records cannot be read.
    async fn lost(&self, service: &Service) -> Result<u64> {
        let stored = self.stored.lock().expect("no holder panics").clone();
        let mut lost = 0;
        for ids in stored.chunks(500) {
            let answer = service.endpoint().post("/api/v1/queries/fetch", &json!({ "ids": ids })).await;
            let missing = answer.map_err(anyhow::Error::msg)?["missing"].take();
            lost += missing.as_array().context("expected a list of missing ids")?.len() as u64;
        }
        Ok(lost)
    }
}

async fn steady(service: &Service, mix: &Mix, time: Duration) -> Result<Value> {
    let load = mix.drive(service, time).await;
    ensure!(
        load.failures.is_empty(),
        "{}: {} failed: {:?}",
        service.name(),
        load.failures.len(),
        load.failures[0]
    );
    ensure!(mix.lost(service).await? == 0, "{}: records are lost", service.name());
    figures(&load, mix, service)
}

async fn under_kills(
    service: &Service,
    postgres: &mut PostgresServer,
    mix: &Mix,
    time: Duration,
) -> Result<Value> {
    let (mix_of_load, endpoint) = (mix.clone(), service.endpoint());
    let load = tokio::spawn(drive(CONNECTIONS, Until::Elapsed(time), move |number| {
        mix_of_load.clone().send(endpoint.clone(), number)
    }));
    let mut recoveries_ms = Vec::new();
    for _ in 0..KILLS {
        tokio::time::sleep(time / (KILLS + 1)).await;
        postgres.kill();
        tokio::time::sleep(AWAY).await;
        postgres.restart().await;
        let back = Instant::now();
        while service.endpoint().get("/api/v1/queries?limit=1").await.is_err() {
            ensure!(back.elapsed() < RECOVERY, "no service {RECOVERY:?} after PostgreSQL is back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        recoveries_ms.push(back.elapsed().as_millis() as u64);
    }
    let load = load.await?;
    let mut failures: BTreeMap<&str, u64> = BTreeMap::new();
    for failure in &load.failures {
        *failures.entry(failure.get(..3).unwrap_or(failure)).or_default() += 1;
    }
    ensure!(
        failures.keys().all(|status| *status == "503"),
        "failures other than 503: {failures:?}, {:?}",
        load.failures.iter().find(|failure| !failure.starts_with("503"))
    );
    let lost = mix.lost(service).await?;
    ensure!(lost == 0, "{lost} acknowledged records are lost");
    let mut report = figures(&load, mix, service)?;
    report["answered_503"] = json!(load.failures.len());
    report["recoveries_ms"] = json!(recoveries_ms);
    report["lost"] = json!(lost);
    Ok(report)
}

fn figures(load: &Load, mix: &Mix, service: &Service) -> Result<Value> {
    let stored = mix.stored.lock().expect("no holder panics").len();
    let (_, peak) = service.memory_mb()?;
    Ok(
        json!({ "requests": load.latencies.len(), "per_second": load.per_second(), "p50_ms": load.percentile_ms(0.5),
        "p99_ms": load.percentile_ms(0.99), "stored": stored, "peak_memory_mb": peak }),
    )
}
