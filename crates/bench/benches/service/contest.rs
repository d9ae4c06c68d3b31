//! The requests that every service gets.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use bench::{
    Kind, Service, cpu_seconds,
    load::{Load, Until, drive},
    texts,
};
use serde_json::{Value, json};

/// Requests of one contestant in one phase of one round.
const TIME: Duration = Duration::from_secs(4);
const BATCH: usize = 100;
const SEARCH_LIMIT: usize = 10;
const SEED: u64 = 11;
const THEMES: usize = 20;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Stores one query per request.
    Store,
    /// Stores many queries per request.
    StoreBatched,
    /// Searches for the queries nearest to a text.
    Search,
    /// Searches for the nearest queries of a theme.
    SearchTheme,
    /// Reads one query by its id.
    Get,
}

/// These run before [`STORING`], so that every contestant searches the same queries.
pub(super) const READING: [Phase; 3] = [Phase::Search, Phase::SearchTheme, Phase::Get];
pub(super) const STORING: [Phase; 2] = [Phase::Store, Phase::StoreBatched];

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::StoreBatched => "store_batched",
            Self::Search => "search",
            Self::SearchTheme => "search_theme",
            Self::Get => "get",
        }
    }

    fn connections(self) -> usize {
        match self {
            Self::StoreBatched => 2,
            Self::Store | Self::Search | Self::SearchTheme | Self::Get => 8,
        }
    }

    /// How many queries a request counts for.
    fn weight(self) -> f64 {
        if self == Self::StoreBatched { BATCH as f64 } else { 1.0 }
    }
}

/// The texts of all requests.
pub(super) struct Texts {
    texts: Arc<Vec<String>>,
    source: &'static str,
    stored: usize,
}

impl Texts {
    /// The texts to store before the rounds, then those to search for.
    pub(super) fn read(stored: usize, longest: usize) -> Result<Self> {
        // There are fewer distinct texts than queries; a number before each makes them distinct.
        let (texts, source) = texts(Kind::Queries, 5_000, longest, SEED)?;
        Ok(Self { texts: Arc::new(texts), source, stored })
    }

    /// How many are stored before the rounds.
    pub(super) fn stored(&self) -> usize {
        self.stored
    }

    /// Their source, and their length in bytes and in word pieces of `model`.
    pub(super) fn describe(&self, model: &Path) -> Result<Value> {
        let model = embed::Model::load(model)?;
        let mut word_pieces = 0;
        for text in &*self.texts {
            word_pieces += model.tokenize(text)?.ids.len();
        }
        let count = self.texts.len();
        let bytes: usize = self.texts.iter().map(String::len).sum();
        let mean = |sum: usize| sum as f64 / count as f64;
        Ok(
            json!({ "source": self.source, "count": count, "mean_bytes": mean(bytes), "mean_word_pieces": mean(word_pieces) }),
        )
    }
}

fn numbered(texts: &[String], number: usize) -> Value {
    let text = &texts[number % texts.len()];
    json!({ "query": format!("{number}: {text}"), "theme": theme(number), "metadata": { "number": number } })
}

fn theme(number: usize) -> String {
    format!("theme {}", number % THEMES)
}

/// Stores the initial queries.
pub(super) async fn fill(service: &Service, texts: &Texts) -> Result<()> {
    let (endpoint, prompts) = (service.endpoint(), Arc::clone(&texts.texts));
    let batches = texts.stored.div_ceil(BATCH) as u64;
    let load = drive(2, Until::Requests(batches), move |batch| {
        let (endpoint, prompts) = (endpoint.clone(), Arc::clone(&prompts));
        async move {
            let first = usize::try_from(batch).expect("few batches") * BATCH;
            let items: Vec<Value> = (first..first + BATCH).map(|number| numbered(&prompts, number)).collect();
            endpoint.post("/api/v1/queries/batch", &json!({ "items": items })).await.map(drop)
        }
    })
    .await;
    ensure!(load.failures.is_empty(), "{} failed to store: {:?}", service.name(), load.failures.first());
    Ok(())
}

/// Runs one phase of one round. `postgres` is the process of the PostgreSQL server.
pub(super) async fn measure(
    service: &Service,
    postgres: u32,
    phase: Phase,
    texts: &Texts,
    round: usize,
) -> Result<Value> {
    let endpoint = service.endpoint();
    let prompts = Arc::clone(&texts.texts);
    // Ids of stored records.
    let found = endpoint.post("/api/v1/queries/search", &json!({ "query": "Why?", "limit": 100 })).await;
    let found = found.map_err(anyhow::Error::msg)?;
    let ids: Vec<String> = found
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|hit| hit["id"].as_str().map(str::to_owned))
        .collect();
    ensure!(ids.len() == 100, "{} finds {} of 100 queries", service.name(), ids.len());
    let ids = Arc::new(ids);
    // Different texts for every round and contestant, so that none is stored already.
    let offset = 1_000_000 * (round + 1);
    let cpu = || anyhow::Ok((service.cpu_seconds()?, cpu_seconds(postgres)?));
    let before = cpu()?;
    let load = drive(phase.connections(), Until::Elapsed(TIME), move |number| {
        let (endpoint, prompts, ids) = (endpoint.clone(), Arc::clone(&prompts), Arc::clone(&ids));
        async move {
            let number = usize::try_from(number).expect("few requests");
            let text = &prompts[number * 7 % prompts.len()];
            match phase {
                Phase::Store => endpoint.post("/api/v1/queries", &numbered(&prompts, offset + number)).await,
                Phase::StoreBatched => {
                    let first = 2 * offset + number * BATCH;
                    let items: Vec<Value> =
                        (first..first + BATCH).map(|number| numbered(&prompts, number)).collect();
                    endpoint.post("/api/v1/queries/batch", &json!({ "items": items })).await
                }
                Phase::Search => {
                    endpoint
                        .post("/api/v1/queries/search", &json!({ "query": text, "limit": SEARCH_LIMIT }))
                        .await
                }
                Phase::SearchTheme => {
                    let search = json!({ "query": text, "limit": SEARCH_LIMIT, "theme": theme(number) });
                    endpoint.post("/api/v1/queries/search", &search).await
                }
                Phase::Get => endpoint.get(&format!("/api/v1/queries/{}", ids[number % ids.len()])).await,
            }
            .map(drop)
        }
    })
    .await;
    let after = cpu()?;
    report(service, phase, &load, (after.0 - before.0, after.1 - before.1))
}

fn report(
    service: &Service,
    phase: Phase,
    load: &Load,
    (service_seconds, postgres_seconds): (f64, f64),
) -> Result<Value> {
    let failure = load.failures.first();
    ensure!(failure.is_none(), "{} failed to {}: {failure:?}", service.name(), phase.name());
    let done = load.latencies.len() as f64 * phase.weight();
    Ok(json!({
        "service_cpu_ms": service_seconds * 1e3 / done,
        "postgres_cpu_ms": postgres_seconds * 1e3 / done,
        "per_second": load.per_second() * phase.weight(),
        "p50_ms": load.percentile_ms(0.5),
        "p99_ms": load.percentile_ms(0.99),
        "requests": load.latencies.len(),
    }))
}
