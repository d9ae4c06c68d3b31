//! hostile: all known attacks on a service at once, while honest clients use it.
//!
//! `cargo bench -p bench --bench hostile`. `PANOPTICON_BENCH_SECONDS` says how long it lasts (default 120);
//! `PANOPTICON_BENCH_BINARY` names a program. All traffic stays on loopback, and each bomb has at most one request in
//! flight.
//!
//! `serve query` runs with 4 GB of address space (`ulimit -v 4000000`). First only honest clients send requests; then
//! all bombs are sent repeatedly, while other clients hold idle connections, responses that they never read, and
//! requests that never end; then nothing for a minute. It fails if the service ends, or exceeds one of the limits
//! below. The report goes to `target/bench/hostile.json`.

use std::{
    collections::BTreeMap,
    env,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{Endpoint, Panopticon, Service, load::Load, write_report};
use provision::Durability;
use serde_json::{Value, json};
use test_support::PostgresServer;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::sleep,
};

const PORT: u16 = 18_131;
const ADDRESS_SPACE_KB: u32 = 4_000_000;
/// How long only honest clients send requests.
const QUIET: Duration = Duration::from_secs(20);
/// From the last bomb to the last measurement of memory.
const REST: Duration = Duration::from_secs(60);
const HEALTH_P99_MS: f64 = 50.0;
const PEAK_MB: f64 = 600.0;
const RESTED_MB: f64 = 250.0;
const SLOWER: f64 = 5.0;
/// Between two honest requests of a client, and between two bombs of a kind.
const PAUSE: Duration = Duration::from_millis(20);
const BOMB_PAUSE: Duration = Duration::from_millis(500);
const HONEST: usize = 4;
const BIG_RECORDS: usize = 40;

#[tokio::main]
async fn main() -> Result<()> {
    let seconds = match env::var("PANOPTICON_BENCH_SECONDS") {
        Ok(seconds) => seconds.parse().context("PANOPTICON_BENCH_SECONDS is not a number")?,
        Err(_) => 120,
    };
    let panopticon = Panopticon::find_or_build()?;
    let postgres = PostgresServer::private(Durability::Full, &[]).await;
    let database = postgres.create_database("hostile").await;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -v {ADDRESS_SPACE_KB}; exec \"$0\" \"$@\""));
    command.arg(panopticon.command().get_program());
    command.args(["serve", "query", "--port", &PORT.to_string()]).env("DATABASE_URL", &database);
    let service = Service::start("panopticon", &mut command, PORT).await?;
    fill(&service.endpoint()).await?;

    let (before, _) = service.memory_mb()?;
    let quiet = honest(service.endpoint(), QUIET).await;
    ensure!(quiet.failures.is_empty(), "honest clients failed while alone: {:?}", quiet.failures[0]);
    let attack = Attack::begin(seconds)?;
    let mut watch = Watch::default();
    let honest = tokio::spawn(honest(service.endpoint(), attack.time));
    let answers = watch.during(&service, attack).await?;
    let honest = honest.await?;
    sleep(REST).await;
    let (rested, _) = service.memory_mb().context("the service ended")?;

    let health = watch.health;
    let (quiet_ms, hostile_ms) = (quiet.percentile_ms(0.99), honest.percentile_ms(0.99));
    let report = json!({
        "seconds": seconds, "health_p99_ms": health.percentile_ms(0.99), "health_failures": health.failures.len(),
        "memory_before_mb": before, "memory_peak_mb": watch.peak_mb, "memory_after_a_minute_mb": rested,
        "honest_quiet_p99_ms": quiet_ms, "honest_p99_ms": hostile_ms, "honest_requests": honest.latencies.len(),
        "honest_failures": honest.failures.len(), "first_failure": honest.failures.first(), "answers_to_bombs": answers,
    });
    println!("{report:#}");
    write_report("hostile", &report)?;
    ensure!(health.failures.is_empty(), "/health failed: {}", health.failures[0]);
    ensure!(health.percentile_ms(0.99) < HEALTH_P99_MS, "p99 of /health is not below {HEALTH_P99_MS} ms");
    ensure!(watch.peak_mb < PEAK_MB, "memory was not below {PEAK_MB} MB");
    ensure!(rested < RESTED_MB, "memory after a minute is not below {RESTED_MB} MB");
    ensure!(honest.failures.is_empty(), "an honest request failed: {}", honest.failures[0]);
    ensure!(hostile_ms < SLOWER * quiet_ms, "honest clients' p99 is not below {SLOWER} times the quiet one");
    Ok(())
}

/// Records for honest clients, and long ones for exports and lists.
async fn fill(endpoint: &Endpoint) -> Result<()> {
    let post = async |items: Vec<Value>| {
        let stored = endpoint.post("/api/v1/queries/batch", &json!({ "items": items })).await;
        stored.map(drop).map_err(anyhow::Error::msg)
    };
    let short = |n| json!({ "id": format!("q{n}"), "query": format!("Why is question {n} asked?"), "theme": "short" });
    post((0..500).map(short).collect()).await?;
    for n in 0..BIG_RECORDS {
        let text = format!("{n} ").repeat(400_000);
        post(vec![json!({ "id": format!("big{n}"), "query": text, "theme": "big" })]).await?;
    }
    Ok(())
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
                    0 => endpoint.get(&format!("/api/v1/queries/q{}", number % 500)).await,
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

/// A request that is sent repeatedly: a path, and for a POST its body.
fn bombs() -> Vec<(&'static str, String, Option<String>)> {
    let search = |body: Value| ("/api/v1/queries/search".to_owned(), Some(body.to_string()));
    let nested = (0..40).fold("a".to_owned(), |pattern, _| format!("({pattern}){{256,512}}"));
    let pattern = |pattern: &str, tests: usize| {
        let test = json!({ "$regex": pattern });
        let filter = if tests == 1 { test } else { json!({ "$or": vec![test; tests] }) };
        search(json!({ "query": "x", "mode": "text", "where_document": filter }))
    };
    let text = |unit: &str| search(json!({ "query": unit.repeat(4_000_000 / unit.len()) }));
    let store = |body: String| ("/api/v1/queries".to_owned(), Some(body));
    let (key, ones) = ("k".repeat(1_000_000), vec!["1"; 1_000_000].join(","));
    let with_metadata =
        |metadata: &str| store(format!(r#"{{"query": "x", "theme": "t", "metadata": {metadata}}}"#));
    let get = |path: &str| (path.to_owned(), None);
    let bombs = [
        ("nested repetitions", pattern(&nested, 1)),
        ("word boundaries", pattern(&r"\b".repeat(500), 100)),
        ("word classes", pattern(&r"\w".repeat(500), 8)),
        ("repeated word classes", pattern(r"(?:\w{200}[a-z]{255}){255}", 8)),
        (
            "keys of a list",
            search(
                json!({ "query": "x", "where": { key.clone(): { "$in": (0..900).collect::<Vec<u32>>() } } }),
            ),
        ),
        ("place of NUL", with_metadata(&format!(r#"{{"{key}": [{ones}], "z": "\u0000"}}"#))),
        ("negative zero", with_metadata(&format!(r#"{{"{key}": [{ones}, -0.0]}}"#))),
        ("many values", with_metadata(&format!(r#"{{"a": [{}1]}}"#, "1,".repeat(7_000_000)))),
        ("nested lists", with_metadata(&format!(r#"{{"a": [{}1]}}"#, "[[]],".repeat(3_000_000)))),
        (
            "unknown name",
            ("/api/v1/queries/batch".to_owned(), Some(format!(r#"{{"items": [], "{key}": 1}}"#))),
        ),
        ("exclamation marks", text("!")),
        ("Chinese", text("漢")),
        ("marks", text("x\u{301}\u{941}")),
        ("a long word", text("w")),
        ("a word of words", search(json!({ "query": "w".repeat(1_800_000), "mode": "text" }))),
        ("long texts in a list", get("/api/v1/queries?theme=big&limit=1000")),
        ("long texts found", search(json!({ "query": "1 1 1", "theme": "big", "limit": 100 }))),
        ("exports", get("/api/v1/queries/export?theme=big")),
        ("ready", get("/ready")),
    ];
    bombs.into_iter().map(|(name, (path, body))| (name, path, body)).collect()
}

/// All requests and connections of the attack.
struct Attack {
    time: Duration,
    tasks: JoinSet<Result<()>>,
    answers: Answers,
}

/// How often each bomb was answered with each status; shared by the tasks that send them.
type Answers = Arc<Mutex<BTreeMap<&'static str, BTreeMap<String, u64>>>>;

impl Attack {
    fn begin(seconds: u64) -> Result<Self> {
        let time = Duration::from_secs(seconds);
        let (mut tasks, answers) = (JoinSet::new(), Answers::default());
        for (name, path, body) in bombs() {
            tasks.spawn(throw(name, path, body, (time, Arc::clone(&answers))));
        }
        let host = "HTTP/1.1\r\nhost: localhost\r\n";
        // Complete requests whose responses are never read; incomplete heads and bodies; idle connections.
        let export = format!("GET /api/v1/queries/export?theme=big {host}\r\n");
        let list = format!("GET /api/v1/queries?theme=big&limit=10 {host}\r\n");
        let body = format!(
            "POST /api/v1/queries {host}content-type: application/json\r\ncontent-length: 16000000\r\n\r\n{{"
        );
        for (request, connections) in [
            (export, 30),
            (list, 30),
            (format!("GET /api/v1/queries {host}"), 100),
            (body, 30),
            (String::new(), 200),
        ] {
            for _ in 0..connections {
                tasks.spawn(hold(request.clone(), time));
            }
        }
        Ok(Self { time, tasks, answers })
    }
}

/// Sends the bomb again whenever it is answered.
async fn throw(
    name: &'static str,
    path: String,
    body: Option<String>,
    (time, answers): (Duration, Answers),
) -> Result<()> {
    let began = Instant::now();
    let client = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(1)).build()?;
    let url = format!("http://127.0.0.1:{PORT}{path}");
    while began.elapsed() < time {
        let request = match &body {
            Some(body) => client.post(&url).header("content-type", "application/json").body(body.clone()),
            None => client.get(&url),
        };
        let status = match request.send().await {
            Ok(mut answer) => {
                let status = answer.status().as_u16().to_string();
                while let Ok(Some(_)) = answer.chunk().await {}
                status
            }
            Err(_) => "no answer".to_owned(),
        };
        *answers.lock().expect("no holder panics").entry(name).or_default().entry(status).or_default() += 1;
        sleep(BOMB_PAUSE).await;
    }
    Ok(())
}

/// Sends `request` on a connection without reading from it, and opens another when it is closed.
async fn hold(request: String, time: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        if let Ok(mut stream) = socket.connect(([127, 0, 0, 1], PORT).into()).await
            && stream.write_all(request.as_bytes()).await.is_ok()
        {
            closed(&stream, time.saturating_sub(began.elapsed())).await;
        }
        sleep(BOMB_PAUSE).await;
    }
    Ok(())
}

/// Waits until the other side has closed, without reading.
async fn closed(stream: &TcpStream, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(Duration::from_secs(1)).await;
        if stream.take_error().ok().flatten().is_some() || stream.try_write(b"").is_err() {
            return;
        }
    }
}

/// Measurements of the service during the attack.
#[derive(Default)]
struct Watch {
    health: Load,
    peak_mb: f64,
}

impl Watch {
    /// Measures until the attack is over; returns how its bombs were answered.
    async fn during(&mut self, service: &Service, mut attack: Attack) -> Result<Value> {
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
        attack.tasks.abort_all();
        while attack.tasks.join_next().await.is_some() {}
        self.health.latencies.sort_unstable();
        let answers = attack.answers.lock().expect("no holder panics").clone();
        Ok(json!(answers))
    }
}
