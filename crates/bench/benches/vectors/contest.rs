//! All contestants at one table size.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bench::{Panopticon, folder, psql};
use provision::Server;
use serde_json::{Value, json};
use store::postgres::vector_index::MeasuredSetting;
use upkeep::IndexType;

use super::{
    FURTHER, QUESTIONS,
    chroma::Chroma,
    embeddings::Corpus,
    filters::Filter,
    old,
    ours::{Ours, measure_http, memory_mb},
    pgbench,
    truth::Truth,
};

const TARGETS: [f64; 3] = [0.95, 0.98, 0.99];
/// The recall target where only one is measured.
const DEFAULT_TARGET: f64 = 0.98;
/// With more rows, tuning the number of probes takes longer than all other parts.
const MOST_ROWS_IN_LISTS: usize = 100_000;
const CLIENTS: [usize; 2] = [1, 4];
const ROUNDS: usize = 3;
/// Chroma gets the smallest of these that reaches the recall of our service.
const CHROMA_CANDIDATES: [u32; 13] = [10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640];
/// Differs from the services' default ports.
const PORT: u16 = 18_131;
/// Questions for Chroma's filtered searches, which are slow.
const FILTERED_QUESTIONS: usize = 100;
/// New records per second during searches, and for how long.
const WRITES_PER_SECOND: usize = 200;
const WRITING: Duration = Duration::from_secs(20);

pub(super) struct Contest<'a> {
    pub(super) server: &'a Server,
    pub(super) database: String,
    pub(super) corpus: &'a Arc<Corpus>,
    pub(super) rows: usize,
    pub(super) panopticon: &'a Panopticon,
    pub(super) model: &'a Path,
    pub(super) chroma: Option<&'a Path>,
}

impl Contest<'_> {
    pub(super) async fn run(&self) -> Result<Value> {
        let questions: Vec<usize> = (self.rows..self.rows + QUESTIONS).collect();
        let truth = Arc::new(Truth::of(self.corpus, self.rows, &questions, &Filter::None));
        let filters: Vec<(Filter, Arc<Truth>)> = Filter::all(self.corpus, self.rows)
            .into_iter()
            .map(|filter| {
                let truth = Truth::of(self.corpus, self.rows, &questions[..FILTERED_QUESTIONS], &filter);
                (filter, Arc::new(truth))
            })
            .collect();
        let (mut unfiltered, mut filtered) = (Vec::new(), Vec::new());

        let ours = Ours::open(self.server.url_of(&self.database)).await?;
        let filling = ours.fill(self.corpus, self.rows).await?;
        eprintln!("{} rows stored in {filling:.0} s", self.rows);
        psql(self.server, &self.database, &["vacuum analyze queries", "checkpoint"])?;
        let old_service = old::measure(self.server, &self.database, self.corpus, &truth)?;
        let mut ivfflat = Value::Null;
        if self.rows <= MOST_ROWS_IN_LISTS {
            ivfflat = ours.build(IndexType::Ivfflat).await?;
            let (setting, _) = ours.tune(DEFAULT_TARGET, IndexType::Ivfflat).await?;
            let measured = ours.measure(self.corpus, &truth, &Filter::None, 1).await?;
            unfiltered.push(self.note("ivfflat", DEFAULT_TARGET, setting, measured));
        }
        let auto = ours.build(IndexType::Auto).await?;
        let mut tuning_seconds = Vec::new();
        let mut service_memory_mb = 0.0;
        for target in TARGETS {
            let (setting, seconds) = ours.tune(target, IndexType::Auto).await?;
            tuning_seconds.push(seconds);
            let settings = setting.map(|setting| settings(&auto, &setting));
            // Settings are read when a service starts, and every ten seconds.
            let service = ours.serve(self.panopticon, self.model, PORT).await?;
            for clients in CLIENTS {
                // Rounds alternate, so that other load on the machine affects all alike.
                let mut rounds: [Vec<Value>; 4] = Default::default();
                for _ in 0..ROUNDS {
                    rounds[0].push(ours.measure(self.corpus, &truth, &Filter::None, clients).await?);
                    let (server, settings) = (self.server, settings.as_deref());
                    let limit =
                        pgbench::measure(server, &self.database, self.corpus, &truth, settings, clients)?;
                    rounds[1].push(limit);
                    for (place, by_text) in [(2, false), (3, true)] {
                        let endpoint = service.endpoint();
                        let measured =
                            measure_http(endpoint, self.corpus, &truth, &Filter::None, clients, by_text);
                        rounds[place].push(measured.await?);
                    }
                }
                for (name, rounds) in ["store", "pgbench", "http_vector", "http_text"].iter().zip(&rounds) {
                    unfiltered.push(self.note(name, target, setting, medians(rounds)));
                }
            }
            if target == DEFAULT_TARGET {
                for (filter, truth) in &filters {
                    let measured = ours.measure(self.corpus, truth, filter, 1).await?;
                    filtered.push(self.note_filtered("store", filter, truth, measured));
                    let measured =
                        measure_http(service.endpoint(), self.corpus, truth, filter, 1, false).await?;
                    filtered.push(self.note_filtered("http_vector", filter, truth, measured));
                }
            }
            service_memory_mb = service.memory_mb()?.0;
        }
        let postgres_memory_mb = memory_mb(server_process(self.server)?)?;
        let writes = self.under_writes(&ours, &truth).await?;
        ours.database.close().await;
        let chroma = match self.chroma {
            Some(program) => {
                Some(self.against(program, &truth, &filters, &mut unfiltered, &mut filtered).await?)
            }
            None => None,
        };
        Ok(json!({
            "rows": self.rows, "questions": QUESTIONS, "filling_seconds": filling,
            "ivfflat": ivfflat, "auto": auto, "old_service": old_service, "chroma": chroma,
            "tuning_seconds": tuning_seconds, "unfiltered": unfiltered, "filtered": filtered, "under_writes": writes,
            "postgres_memory_mb": postgres_memory_mb, "service_memory_mb": service_memory_mb,
        }))
    }

    /// The same searches without writes, and while records are stored.
    async fn under_writes(&self, ours: &Ours, truth: &Arc<Truth>) -> Result<Value> {
        let quiet = ours.measure(self.corpus, truth, &Filter::None, 1).await?;
        let writing =
            ours.trickle(self.corpus, self.corpus.texts.len() - FURTHER, WRITES_PER_SECOND, WRITING);
        let searching = async {
            let mut rounds = Vec::new();
            let began = std::time::Instant::now();
            while began.elapsed() + Duration::from_secs(3) < WRITING {
                rounds.push(ours.measure(self.corpus, truth, &Filter::None, 1).await?);
            }
            anyhow::Ok(rounds)
        };
        let (written, rounds) = tokio::join!(writing, searching);
        let (written, rounds) = (written?, rounds?);
        let p99 = bench::median(&rounds, "p99_ms").context("nobody searched")?;
        eprintln!(
            "{} rows: p99 {} ms quiet, {p99:.2} ms under {WRITES_PER_SECOND} writes per second",
            self.rows, quiet["p99_ms"]
        );
        Ok(json!({
            "quiet_p99_ms": quiet["p99_ms"], "p99_ms": p99, "quiet_p50_ms": quiet["p50_ms"],
            "p50_ms": bench::median(&rounds, "p50_ms"),
            "written_per_second": written as f64 / WRITING.as_secs_f64(),
        }))
    }

    /// Chroma with the same records.
    async fn against(
        &self,
        program: &Path,
        truth: &Arc<Truth>,
        filters: &[(Filter, Arc<Truth>)],
        unfiltered: &mut Vec<Value>,
        filtered: &mut Vec<Value>,
    ) -> Result<Value> {
        let directory = folder()?.join("vectors-chroma");
        let mut chroma = Chroma::start(program, &directory, PORT + 1).await?;
        let filling = chroma.fill(self.corpus, self.rows).await?;
        eprintln!("Chroma has {} records after {filling:.0} s", self.rows);
        let mut wanted = Vec::new();
        for target in TARGETS {
            wanted.push((target, found(unfiltered, target).context("our service was not measured")?));
        }
        let most = wanted.iter().map(|(_, recall)| *recall).fold(0.0, f64::max);
        let mut curve: Vec<(u32, f64)> = Vec::new();
        for candidates in CHROMA_CANDIDATES {
            chroma.set_candidates(candidates).await?;
            let measured = chroma.measure(self.corpus, truth, &Filter::None, 1).await?;
            let recall = measured["recall"].as_f64().context("no recall")?;
            curve.push((candidates, recall));
            if recall >= most {
                break;
            }
        }
        for (target, wanted) in wanted {
            let enough = curve.iter().find(|(_, recall)| *recall >= wanted).or(curve.last());
            let (candidates, _) = *enough.context("no `ef_search` was tried")?;
            chroma.set_candidates(candidates).await?;
            for clients in CLIENTS {
                let mut rounds = Vec::new();
                for _ in 0..ROUNDS {
                    rounds.push(chroma.measure(self.corpus, truth, &Filter::None, clients).await?);
                }
                let mut noted = self.note("chroma", target, None, medians(&rounds));
                noted["candidates"] = json!(candidates);
                unfiltered.push(noted);
            }
            if target == DEFAULT_TARGET {
                for (filter, truth) in filters {
                    let measured = chroma.measure(self.corpus, truth, filter, 1).await?;
                    filtered.push(self.note_filtered("chroma", filter, truth, measured));
                }
            }
        }
        let memory_mb = memory_mb(chroma.process())?;
        let bytes = chroma.bytes()?;
        drop(chroma);
        std::fs::remove_dir_all(directory)?;
        Ok(json!({ "filling_seconds": filling, "memory_mb": memory_mb, "bytes": bytes }))
    }

    fn note(
        &self,
        contestant: &str,
        target: f64,
        setting: Option<MeasuredSetting>,
        mut measured: Value,
    ) -> Value {
        measured["contestant"] = json!(contestant);
        measured["target"] = json!(target);
        measured["candidates"] = json!(setting.map(|setting| setting.candidates));
        self.tell(&format!("{contestant}, target {target}"), &measured);
        measured
    }

    fn note_filtered(&self, contestant: &str, filter: &Filter, truth: &Truth, mut measured: Value) -> Value {
        measured["contestant"] = json!(contestant);
        measured["filter"] = json!(filter.name());
        measured["matching"] = json!(truth.matching());
        self.tell(&format!("{contestant}, {} ({} match)", filter.name(), truth.matching()), &measured);
        measured
    }

    fn tell(&self, what: &str, measured: &Value) {
        let figure = |field: &str| {
            measured[field].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
        };
        eprintln!(
            "{:>7} rows  {what:<46} {} client(s)  recall {:<6} mean {:>8} ms  p50 {:>8}  p99 {:>8}",
            self.rows,
            measured["clients"],
            figure("recall"),
            figure("mean_ms"),
            figure("p50_ms"),
            figure("p99_ms"),
        );
    }
}

/// The recall of our service at `target`.
fn found(unfiltered: &[Value], target: f64) -> Option<f64> {
    let ours = unfiltered.iter().find(|point| {
        point["contestant"] == "http_vector" && point["target"] == target && point["clients"] == 1
    });
    ours?["recall"].as_f64()
}

/// The median of the rounds for each field.
fn medians(rounds: &[Value]) -> Value {
    let fields = rounds.first().and_then(Value::as_object).into_iter().flatten();
    let medians = fields.map(|(field, first)| match bench::median(rounds, field) {
        // Counts are equal in all rounds.
        Some(median) if first.is_f64() => (field.clone(), json!(median)),
        _ => (field.clone(), first.clone()),
    });
    Value::Object(medians.collect())
}

/// The settings that the store uses for searches with such an index.
fn settings(built: &Value, setting: &MeasuredSetting) -> String {
    let is_graph = built["index"].as_str().is_some_and(|index| index.starts_with("hnsw"));
    if is_graph {
        let candidates = setting.candidates;
        format!("set local hnsw.ef_search = {candidates} \\; set local hnsw.iterative_scan = relaxed_order")
    } else {
        let probes = setting.candidates;
        format!("set local ivfflat.probes = {probes} \\; set local ivfflat.iterative_scan = relaxed_order")
    }
}

/// The process id of the server.
fn server_process(server: &Server) -> Result<u32> {
    let file = server.folder().join("data/postmaster.pid");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
    Ok(text.lines().next().context("no line in postmaster.pid")?.trim().parse()?)
}
