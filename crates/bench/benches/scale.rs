//! scale/N: what replicas of PostgreSQL give and cost, with N stored queries.
//!
//! `cargo bench -p bench --bench scale`. `PANOPTICON_BENCH_RECORDS` says how many queries are stored (default 100000),
//! `PANOPTICON_BENCH_SECONDS` how long each load lasts (default 10), `PANOPTICON_BENCH_BINARY` names a `panopticon` to
//! measure instead of the release build.
//!
//! A primary and two standbys, made by `pg_basebackup`, run on this machine with full durability and synchronous replication
//! (`ANY 1 (*)`), and one `panopticon serve query` each that reads on no, on one and on both standbys.
//!
//! - `searches`: searches per second of eight clients. On one machine all servers share the processors, so that replicas show
//!   their cost here and no gain; on a machine for each server, the factor approaches the number of servers that read.
//! - `read_your_writes`: p50 of one client's reads on one standby, each of which asks how far the standby has replayed,
//!   against p50 of the same reads on the primary of a process without replicas, in turn; the ratio is to be 1.05 at most.
//! - `lag`: the largest lag of a standby, as `/ready` states it, during and after a COPY of up to 100,000 of the rows, and how
//!   long the standbys take to catch up.
//! - `failover`: eight clients write while the primary is killed and the most advanced standby is promoted at once: how long no
//!   write is accepted, what the clients are answered, and how many acknowledged writes are missing.
//!
//! The report goes to `target/bench/scale.json`.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{
    Endpoint, Panopticon, Service,
    load::{Load, Until, drive},
    median, write_report,
};
use serde_json::{Value, json};
use test_support::{PostgresCluster, Replication};
use tokio::{sync::Mutex, task::JoinSet};

/// Differs from the services' default ports.
const FIRST_PORT: u16 = 18_171;
const ROUNDS: usize = 5;
const CLIENTS: usize = 8;
const MOST_COPIED: u64 = 100_000;
/// How long the clients write before the primary is killed, and after writes are accepted again.
const SETTLED: Duration = Duration::from_secs(3);
/// What a client waits for after a refused write.
const RETRY: Duration = Duration::from_millis(10);

/// Full durability, and buffers that have the table and its index.
const SETTINGS: [(&str, &str); 4] =
    [("fsync", "on"), ("full_page_writes", "on"), ("shared_buffers", "1GB"), ("max_wal_size", "4GB")];

#[tokio::main]
async fn main() -> Result<()> {
    let records = number("PANOPTICON_BENCH_RECORDS", 100_000)?;
    let seconds = number("PANOPTICON_BENCH_SECONDS", 10)?;
    let panopticon = Panopticon::find_or_build()?;
    let mut cluster = PostgresCluster::start(2, Replication::Synchronous, &SETTINGS).await;
    let url = cluster.url_of(&[0, 1, 2], "target_session_attrs=read-write");
    let serve = |port: u16, replicas: &[usize]| {
        let mut command = panopticon.command();
        command.args(["serve", "query", "--port", &port.to_string()]).env("DATABASE_URL", &url);
        // No index is built during a load.
        command.env("MAINTENANCE", "off");
        let urls: Vec<String> = replicas.iter().map(|number| cluster.server(*number).url()).collect();
        command.env("DATABASE_REPLICA_URLS", urls.join(","));
        command
    };
    // Makes the tables.
    drop(Service::start("preparation", &mut serve(FIRST_PORT, &[]), FIRST_PORT).await?);
    eprintln!("storing {records} queries");
    cluster.primary().execute(&rows(records)).await;
    let built = panopticon.command().args(["index", "apply"]).env("DATABASE_URL", &url).status();
    let built = built.context("failed to run the program")?;
    // 6: the recall is below the target, as it may be for vectors without a structure.
    ensure!(matches!(built.code(), Some(0 | 6)), "`index apply` ended with {built}");
    cluster.primary().execute("vacuum analyze queries").await;
    for standby in [1, 2] {
        cluster.wait_for_replay(standby).await;
    }

    let services = [
        Service::start("no replica", &mut serve(FIRST_PORT, &[]), FIRST_PORT).await?,
        Service::start("one replica", &mut serve(FIRST_PORT + 1, &[1]), FIRST_PORT + 1).await?,
        Service::start("two replicas", &mut serve(FIRST_PORT + 2, &[1, 2]), FIRST_PORT + 2).await?,
    ];
    let endpoints = services.each_ref().map(Service::endpoint);
    let searches = searches(&endpoints, Duration::from_secs(seconds)).await?;
    let read_your_writes = read_your_writes(&endpoints, records, Duration::from_secs(seconds)).await?;
    let lag = lag(&cluster, &endpoints[2], records.min(MOST_COPIED)).await?;
    let failover = failover(&mut cluster, &endpoints[0]).await?;
    let report = json!({
        "records": records, "searches": searches, "read_your_writes": read_your_writes, "lag": lag,
        "failover": failover,
    });
    write_report("scale", &report)
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is not a number")),
        Err(_) => Ok(default),
    }
}

/// The statement that stores `records` queries with vectors of clusters.
fn rows(records: u64) -> String {
    format!(
        "insert into queries (id, query_text, embedding, theme)
        select md5('query ' || n)::uuid, 'number ' || n,
            (
                select array_agg(sin(n % 500 + i) + 0.5 * sin(n * i + n))::real[]::vector(384)
                from generate_series(1, 384) i
            ),
            'theme ' || n % 10
        from generate_series(1, {records}) n"
    )
}

/// A search for neighbours of the row `n`.
fn search(n: u64) -> Value {
    let n = n as f64;
    let vector: Vec<f64> =
        (1..=384).map(f64::from).map(|i| (n % 500.0 + i).sin() + 0.5 * (n * i + n + 0.1).sin()).collect();
    json!({"embedding": vector, "limit": 10, "fields": ["id"]})
}

/// Searches of `clients`, for `time`.
async fn search_load(endpoint: &Endpoint, clients: usize, time: Duration) -> Result<Load> {
    let endpoint = endpoint.clone();
    let request = move |n: u64| {
        let endpoint = endpoint.clone();
        async move { endpoint.post("/api/v1/queries/search", &search(n * 37)).await.map(drop) }
    };
    answered(drive(clients, Until::Elapsed(time), request).await)
}

/// Reads of one record by one client, for `time`.
async fn get_load(endpoint: &Endpoint, id: &str, time: Duration) -> Result<Load> {
    let (endpoint, path) = (endpoint.clone(), format!("/api/v1/queries/{id}"));
    let request = move |_| {
        let (endpoint, path) = (endpoint.clone(), path.clone());
        async move { endpoint.get(&path).await.map(drop) }
    };
    answered(drive(1, Until::Elapsed(time), request).await)
}

fn answered(load: Load) -> Result<Load> {
    ensure!(load.failures.is_empty(), "a read failed: {}", load.failures[0]);
    Ok(load)
}

async fn searches(endpoints: &[Endpoint; 3], time: Duration) -> Result<Value> {
    let mut rounds: [Vec<Value>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (endpoint, reports) in endpoints.iter().zip(&mut rounds) {
            let load = search_load(endpoint, CLIENTS, time).await?;
            reports.push(json!({"per_second": load.per_second(), "p50_ms": load.percentile_ms(0.5), "p99_ms": load.percentile_ms(0.99)}));
        }
    }
    let of = |reports: &Vec<Value>| {
        json!({
            "per_second": median(reports, "per_second"), "p50_ms": median(reports, "p50_ms"), "p99_ms": median(reports, "p99_ms"),
        })
    };
    let [none, one, two] = rounds.each_ref().map(of);
    println!(
        "searches per second, {CLIENTS} clients: {} without a replica, {} with one, {} with two",
        none["per_second"], one["per_second"], two["per_second"]
    );
    Ok(json!({"no_replica": none, "one_replica": one, "two_replicas": two}))
}

async fn read_your_writes(endpoints: &[Endpoint; 3], records: u64, time: Duration) -> Result<Value> {
    let written =
        json!({"query": "the row that is read", "theme": "scale", "embedding": search(records)["embedding"]});
    let stored = endpoints[1].post("/api/v1/queries", &written).await.map_err(anyhow::Error::msg)?;
    let id = stored["id"].as_str().context("a stored query has an id")?;
    let mut reports = Vec::new();
    for _ in 0..ROUNDS {
        let [plain, replica] = [&endpoints[0], &endpoints[1]];
        let (plain_get, get) = (get_load(plain, id, time / 2).await?, get_load(replica, id, time / 2).await?);
        let (plain_search, search) =
            (search_load(plain, 1, time / 2).await?, search_load(replica, 1, time / 2).await?);
        let ratio = |ours: &Load, plain: &Load| ours.percentile_ms(0.5) / plain.percentile_ms(0.5);
        reports.push(json!({
            "get_plain_ms": plain_get.percentile_ms(0.5), "get_ms": get.percentile_ms(0.5), "get_ratio": ratio(&get, &plain_get),
            "search_plain_ms": plain_search.percentile_ms(0.5), "search_ms": search.percentile_ms(0.5),
            "search_ratio": ratio(&search, &plain_search),
        }));
    }
    let fields = ["get_plain_ms", "get_ms", "get_ratio", "search_plain_ms", "search_ms", "search_ratio"];
    let medians: serde_json::Map<String, Value> =
        fields.into_iter().map(|field| (field.to_owned(), json!(median(&reports, field)))).collect();
    println!(
        "read your writes, ratios of p50: get {}, search {}",
        medians["get_ratio"], medians["search_ratio"]
    );
    Ok(medians.into())
}

async fn lag(cluster: &PostgresCluster, endpoint: &Endpoint, rows: u64) -> Result<Value> {
    // The server reads and writes the file itself.
    let copy = |what: &str| {
        format!(
            "do $$ begin execute format('copy {what} %L (format binary)', current_setting('data_directory') || '/rows'); end $$"
        )
    };
    cluster.primary().execute(&copy(&format!("(select * from queries limit {rows}) to"))).await;
    cluster.primary().execute("create table copied (like queries including all)").await;
    for standby in [1, 2] {
        cluster.wait_for_replay(standby).await;
    }
    let began = Instant::now();
    let copying = async {
        cluster.primary().execute(&copy("copied from")).await;
        let copied = began.elapsed();
        for standby in [1, 2] {
            cluster.wait_for_replay(standby).await;
        }
        (copied, began.elapsed())
    };
    let most = Mutex::new((0, 0));
    let watch = async {
        loop {
            // A server that is busy may answer late; the next answer counts.
            if let Ok(ready) = endpoint.get("/ready").await {
                let mut most = most.lock().await;
                for server in ready["servers"].as_array().into_iter().flatten() {
                    // The primary has no lag.
                    let of = |field: &str| server[field].as_u64().unwrap_or(0);
                    *most = (most.0.max(of("lag_bytes")), most.1.max(of("lag_seconds")));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (copied, replayed) = tokio::select! {
        times = copying => times,
        never = watch => never,
    };
    cluster.primary().execute("drop table copied").await;
    let (bytes, seconds) = *most.lock().await;
    let behind = (replayed - copied).as_secs_f64();
    println!(
        "lag under a COPY of {rows} rows: {:.1} MB, {seconds} s; caught up {behind:.2} s after it",
        bytes as f64 / 1e6
    );
    Ok(json!({
        "rows": rows, "copy_seconds": copied.as_secs_f64(), "most_bytes": bytes, "most_seconds": seconds,
        "caught_up_after_seconds": behind,
    }))
}

async fn failover(cluster: &mut PostgresCluster, endpoint: &Endpoint) -> Result<Value> {
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let mut writers = JoinSet::new();
    for writer in 0..CLIENTS {
        let (endpoint, stop, answers) = (endpoint.clone(), Arc::clone(&stop), Arc::clone(&answers));
        writers.spawn(async move {
            let embedding = search(0)["embedding"].take();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = format!("failover {writer} {number}");
                let record = json!({"id": id, "query": id, "theme": "failover", "embedding": embedding});
                let answer = endpoint.post("/api/v1/queries", &record).await.map(|_| id);
                if answer.is_err() {
                    tokio::time::sleep(RETRY).await;
                }
                answers.lock().await.push((Instant::now(), answer));
            }
        });
    }
    tokio::time::sleep(SETTLED).await;
    let killed = Instant::now();
    cluster.fail_over().await;
    let promoted = Instant::now();
    let is_accepted = |(at, answer): &(Instant, Result<String, String>)| *at > promoted && answer.is_ok();
    while !answers.lock().await.iter().any(is_accepted) {
        ensure!(promoted.elapsed() < Duration::from_secs(60), "no write is accepted after the promotion");
        tokio::time::sleep(RETRY).await;
    }
    tokio::time::sleep(SETTLED).await;
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;

    let answers = answers.lock().await;
    let (mut failures, mut accepted) = (BTreeMap::<&str, u64>::new(), Vec::new());
    for (at, answer) in answers.iter() {
        match answer {
            Ok(id) => accepted.push((*at, id)),
            // Its status.
            Err(failure) => *failures.entry(failure.split(':').next().unwrap_or(failure)).or_default() += 1,
        }
    }
    // In the order of their arrival.
    let gaps = accepted.windows(2).map(|pair| pair[1].0 - pair[0].0);
    let gap = gaps.max().context("writes are accepted")?.as_secs_f64();
    let mut missing = 0;
    for ids in accepted.chunks(100) {
        let ids: Vec<&String> = ids.iter().map(|(_, id)| *id).collect();
        let found = endpoint.post("/api/v1/queries/fetch", &json!({"ids": ids})).await;
        missing += found.map_err(anyhow::Error::msg)?["missing"].as_array().map_or(ids.len(), Vec::len);
    }
    let promotion = (promoted - killed).as_secs_f64();
    println!(
        "failover: no write accepted for {gap:.2} s, {promotion:.2} s of which to promote; {} accepted, {missing} of them missing; other answers: {failures:?}",
        accepted.len(),
    );
    Ok(json!({
        "gap_seconds": gap, "promotion_seconds": promotion, "accepted": accepted.len(), "missing": missing,
        "other_answers": failures,
    }))
}
