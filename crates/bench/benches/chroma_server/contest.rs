//! The requests that are measured.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{
    load::{Until, drive},
    median,
};
use serde_json::{Map, Value, json};

use super::{
    records::{LIMIT, QUESTIONS, Records, id, number},
    server::ChromaServer,
};

const ROUNDS: usize = 3;
/// How long reading phases of a round last.
const LASTS: Duration = Duration::from_secs(2);
/// Different requests of a round.
const BODIES: usize = 100;
/// How many of them are sent in phases that write.
const WRITES: u64 = 30;
/// Records that are added by one request.
const TOGETHER: usize = 1_000;

/// A kind of request.
#[derive(Clone, Copy)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    clients: usize,
    path: &'static str,
    body: fn(&Records, usize) -> Vec<u8>,
}

const fn phase(name: &'static str, path: &'static str, body: fn(&Records, usize) -> Vec<u8>) -> Phase {
    Phase { name, clients: 1, path, body }
}

pub(super) const PHASES: [Phase; 14] = [
    phase("query", "/query", |of, n| query(of, n, &json!({}))),
    Phase { clients: 4, ..phase("query_4_clients", "/query", |of, n| query(of, n, &json!({}))) },
    phase("query_where_1_percent", "/query", |of, n| query(of, n, &json!({"where": {"percent": n % 100}}))),
    phase("query_where_10_percent", "/query", |of, n| query(of, n, &json!({"where": {"tenth": n % 10}}))),
    phase("query_where_half", "/query", |of, n| {
        query(of, n, &json!({"where": {"percent": {"$gte": n % 10 + 45}}}))
    }),
    phase("query_10_vectors", "/query", |of, n| query_several(of, n, 10)),
    phase("query_200_vectors", "/query", |of, n| query_several(of, n, 200)),
    phase("get_1", "/get", |of, n| ids(of, n, 1, &json!({}))),
    phase("get_100", "/get", |of, n| ids(of, n, 100, &json!({}))),
    phase("get_100_with_vectors", "/get", |of, n| {
        ids(of, n, 100, &json!({"include": ["embeddings", "documents", "metadatas"]}))
    }),
    phase("peek", "/get", |_, _| {
        json!({"limit": 10, "include": ["embeddings", "documents", "metadatas"]}).to_string().into_bytes()
    }),
    phase("upsert_100", "/upsert", |of, n| of.body(spread(of, n, 100))),
    phase("delete_10", "/delete", |of, n| ids(of, n, 10, &json!({}))),
    phase("add_10", "/add", |of, n| of.body(spread(of, n, 10))),
];

pub(super) struct Contest {
    records: Arc<Records>,
    measured: Map<String, Value>,
}

impl Contest {
    pub(super) fn new(records: Arc<Records>) -> Self {
        Self { records, measured: Map::new() }
    }

    pub(super) fn measured(&self) -> &Map<String, Value> {
        &self.measured
    }

    /// Adds the records.
    pub(super) async fn fill(&mut self, server: &ChromaServer) -> Result<()> {
        let endpoint = server.endpoint();
        let (mut elapsed, before) = (Duration::ZERO, server.cpu_seconds()?);
        for first in (0..self.records.count()).step_by(TOGETHER) {
            let body = self.records.body(first..self.records.count().min(first + TOGETHER));
            let began = Instant::now();
            endpoint.post("/add", body).await.map_err(anyhow::Error::msg)?;
            elapsed += began.elapsed();
        }
        let after = server.cpu_seconds()?;
        let seconds = elapsed.as_secs_f64();
        let measured = json!({
            "per_second": self.records.count() as f64 / seconds,
            "seconds": seconds,
            "server_cpu_seconds": after.0 - before.0,
            "postgres_cpu_seconds": after.1 - before.1,
        });
        eprintln!("{}: added {measured}", server.name());
        self.measured.insert(format!("{}/add", server.name()), measured);
        Ok(())
    }

    /// Recall of searches without a condition.
    pub(super) async fn recall(&self, server: &ChromaServer) -> Result<f64> {
        let (records, endpoint) = (self.records.clone(), server.endpoint());
        let recalls = Arc::new(Mutex::new(Vec::new()));
        let sums = recalls.clone();
        let load = drive(1, Until::Requests(QUESTIONS as u64), move |question| {
            let (records, endpoint, recalls) = (records.clone(), endpoint.clone(), recalls.clone());
            async move {
                let question = usize::try_from(question).expect("few questions");
                let answer = endpoint.post("/query", query(&records, question, &json!({}))).await?;
                let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
                let found = answer["ids"][0].as_array().into_iter().flatten().filter_map(Value::as_str);
                let found: Vec<usize> = found.filter_map(number).collect();
                recalls.lock().expect("no thread panics").push(records.recall(question, &found));
                Ok(())
            }
        })
        .await;
        ensure!(load.failures.is_empty(), "a search failed: {:?}", load.failures.first());
        let recalls = sums.lock().expect("no thread panics");
        Ok(recalls.iter().sum::<f64>() / recalls.len() as f64)
    }

    /// Measures all phases, in rounds that alternate between the servers.
    pub(super) async fn compare(&mut self, ours: &ChromaServer, theirs: &ChromaServer) -> Result<()> {
        for phase in PHASES {
            let mut rounds = [Vec::new(), Vec::new()];
            for round in 0..ROUNDS {
                for (server, rounds) in [ours, theirs].into_iter().zip(&mut rounds) {
                    rounds.push(self.measure(server, phase, round).await?);
                }
            }
            for (server, rounds) in [ours, theirs].into_iter().zip(rounds) {
                let fields = ["p50_ms", "p99_ms", "per_second", "server_cpu_ms", "postgres_cpu_ms"];
                let medians = fields.map(|field| (field.to_owned(), json!(median(&rounds, field))));
                let medians = Value::Object(medians.into_iter().collect());
                eprintln!("{:<24} {:<10} {medians}", phase.name, server.name());
                self.measured.insert(format!("{}/{}", server.name(), phase.name), medians);
            }
        }
        Ok(())
    }

    async fn measure(&self, server: &ChromaServer, phase: Phase, round: usize) -> Result<Value> {
        let endpoint = server.endpoint();
        // Each round has other requests.
        let bodies = (0..BODIES).map(|body| (phase.body)(&self.records, round * BODIES + body));
        let bodies: Arc<Vec<Vec<u8>>> = Arc::new(bodies.collect());
        let until = match phase.path {
            "/query" | "/get" => Until::Elapsed(LASTS),
            // What is written or deleted twice is another request.
            _ => Until::Requests(WRITES),
        };
        let before = server.cpu_seconds()?;
        let load = drive(phase.clients, until, move |request| {
            let body = bodies[usize::try_from(request).expect("few requests") % BODIES].clone();
            let endpoint = endpoint.clone();
            async move { endpoint.post(phase.path, body).await.map(drop) }
        })
        .await;
        let after = server.cpu_seconds()?;
        ensure!(load.failures.is_empty(), "{} failed: {:?}", phase.name, load.failures.first());
        let requests = load.latencies.len() as f64;
        ensure!(requests > 0.0, "{} answered nothing", phase.name);
        Ok(json!({
            "p50_ms": load.percentile_ms(0.5),
            "p99_ms": load.percentile_ms(0.99),
            "per_second": load.per_second(),
            "server_cpu_ms": (after.0 - before.0) / requests * 1e3,
            "postgres_cpu_ms": (after.1 - before.1) / requests * 1e3,
        }))
    }

    /// The ratio of a figure of both servers.
    pub(super) fn ratio(measured: &Value, phase: &str, field: &str) -> Result<f64> {
        let of = |server: &str| measured[format!("{server}/{phase}")][field].as_f64();
        let figures = of("panopticon").zip(of("chroma"));
        figures.map(|(ours, theirs)| ours / theirs).with_context(|| format!("`{phase}` was not measured"))
    }
}

fn query(of: &Records, number: usize, condition: &Value) -> Vec<u8> {
    let mut body = json!({
        "query_embeddings": [of.question(number)],
        "n_results": LIMIT,
        "include": ["distances", "documents", "metadatas"],
    });
    for (key, value) in condition.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body.to_string().into_bytes()
}

fn query_several(of: &Records, number: usize, vectors: usize) -> Vec<u8> {
    let vectors: Vec<_> = (0..vectors).map(|place| of.question(number + place)).collect();
    json!({"query_embeddings": vectors, "n_results": LIMIT}).to_string().into_bytes()
}

/// `count` numbers of records, different ones for each request.
fn spread(of: &Records, request: usize, count: usize) -> impl Iterator<Item = usize> + Clone + use<> {
    let all = of.count();
    (0..count).map(move |place| (request * count + place).wrapping_mul(7_919) % all)
}

fn ids(of: &Records, request: usize, count: usize, more: &Value) -> Vec<u8> {
    let mut body = json!({"ids": spread(of, request, count).map(id).collect::<Vec<_>>()});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body.to_string().into_bytes()
}
