//! Our store, in this process and behind HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bench::{
    Endpoint, Panopticon, Service,
    load::{Until, drive},
};
use records::{Embedding, Service as Kind};
use serde_json::{Value, json};
use store::{
    postgres::{Database, PostgresStorage, Table, vector_index::MeasuredSetting},
    storage::{Atomicity, Effort, NewRecord, Search, SearchMode, Storage as _},
};
use time::{Date, Month, PrimitiveDateTime, Time};
use upkeep::{IndexType, Policy};

use super::{
    embeddings::Corpus,
    filters::{self, Filter},
    measured::measure,
    truth::{LIMIT, Truth},
};

const TOGETHER: usize = 500;

/// Queries in PostgreSQL.
pub(super) struct Ours {
    pub(super) database: Database,
    url: String,
}

impl Ours {
    pub(super) async fn open(url: String) -> Result<Self> {
        Ok(Self { database: Database::connect(&url).await?, url })
    }

    /// A storage that has read no index settings yet.
    pub(super) async fn storage(&self) -> Result<Arc<PostgresStorage>> {
        Ok(Arc::new(PostgresStorage::open(self.database.clone(), Kind::Query).await?))
    }

    /// Stores the first `count` texts; returns the seconds.
    pub(super) async fn fill(&self, corpus: &Arc<Corpus>, count: usize) -> Result<f64> {
        let began = Instant::now();
        let (storage, corpus) = (self.storage().await?, Arc::clone(corpus));
        let batches = count.div_ceil(TOGETHER) as u64;
        let load = drive(2, Until::Requests(batches), move |batch| {
            let (storage, corpus) = (Arc::clone(&storage), Arc::clone(&corpus));
            async move {
                let first = usize::try_from(batch).expect("few batches") * TOGETHER;
                let records: Vec<NewRecord> =
                    (first..count.min(first + TOGETHER)).map(|number| record(&corpus, number)).collect();
                let stored = storage.insert(&records, Atomicity::AllOrNothing).await;
                stored.map(drop).map_err(|error| error.to_string())
            }
        })
        .await;
        ensure!(load.failures.is_empty(), "failed to store: {:?}", load.failures.first());
        Ok(began.elapsed().as_secs_f64())
    }

    /// Builds the index that the planner chooses; returns its build time and size.
    pub(super) async fn build(&self, index_type: IndexType) -> Result<Value> {
        let began = Instant::now();
        let (table, policy) = (Table::of(Kind::Query), Policy { index_type, ..Policy::default() });
        let building = std::sync::Mutex::new(None);
        let applied = upkeep::apply(&self.database, &table, &policy, &|event| {
            if let upkeep::Event::Tuning(_) = event {
                *building.lock().expect("nobody panics") = Some(began.elapsed());
            }
        })
        .await?;
        let observation = self.database.observe_indexes(&table).await?;
        let index = observation.indexes.iter().find(|index| index.is_searched());
        let built = building.into_inner().expect("nobody panics").unwrap_or_else(|| began.elapsed());
        Ok(json!({
            "index": index.map(|index| index.definition.to_string()),
            "seconds": if applied.plan.built().is_some() { Some(built.as_secs_f64()) } else { None },
            "tuning_seconds": (began.elapsed() - built).as_secs_f64(),
            "bytes": index.map(|index| index.size_bytes),
            "table_bytes": observation.table_bytes,
            "reasons": applied.plan.reasons,
        }))
    }

    /// Tunes search settings for `target`; returns those for ten results without a filter, if there is an index.
    pub(super) async fn tune(
        &self,
        target: f64,
        index_type: IndexType,
    ) -> Result<(Option<MeasuredSetting>, f64)> {
        let began = Instant::now();
        let policy = Policy { recall_target: target, index_type, ..Policy::default() };
        let measured = upkeep::retune(&self.database, &Table::of(Kind::Query), &policy, &|_| {}).await?;
        Ok((measured.into_iter().next(), began.elapsed().as_secs_f64()))
    }

    /// Searches through the storage in this process.
    pub(super) async fn measure(
        &self,
        corpus: &Arc<Corpus>,
        truth: &Arc<Truth>,
        filter: &Filter,
        clients: usize,
    ) -> Result<Value> {
        let (storage, selection) = (self.storage().await?, filter.selection());
        let (searched, asked) = (Arc::clone(corpus), Arc::clone(truth));
        measure(corpus, truth, clients, move |place| {
            let embedding = Embedding::from(searched.vector(asked.questions()[place]).to_vec());
            let (mode, limit) = (SearchMode::Vector(embedding), u32::try_from(LIMIT).expect("it is ten"));
            let search = Search {
                selection: selection.clone(),
                mode,
                limit,
                min_similarity: None,
                effort: Effort::Fast,
            };
            let storage = Arc::clone(&storage);
            async move {
                let hits = storage.search(&search).await.map_err(|error| error.to_string())?;
                hits.iter().map(|hit| number(&hit.record.id)).collect()
            }
        })
        .await
    }

    /// Starts a service on these queries.
    pub(super) async fn serve(
        &self,
        panopticon: &Panopticon,
        model: &std::path::Path,
        port: u16,
    ) -> Result<Service> {
        let mut command = panopticon.command();
        command.args(["serve", "query", "--port", &port.to_string()]);
        command.env("DATABASE_URL", &self.url).env("PANOPTICON_MODEL_DIR", model);
        // It would tune settings for its own target during the benchmark.
        command.env("MAINTENANCE", "off").env("VECTOR_MONITOR_INTERVAL_SECONDS", "0");
        Service::start("http", &mut command, port).await
    }

    /// Stores further texts, `per_second` of them, from `first` on until `time` is over; returns how many were stored.
    pub(super) async fn trickle(
        &self,
        corpus: &Arc<Corpus>,
        first: usize,
        per_second: usize,
        time: Duration,
    ) -> Result<usize> {
        const TICK: Duration = Duration::from_millis(100);
        let (storage, began) = (self.storage().await?, Instant::now());
        let mut ticks = tokio::time::interval(TICK);
        let mut stored = 0;
        while began.elapsed() < time {
            ticks.tick().await;
            let due = (began.elapsed().as_secs_f64() * per_second as f64) as usize;
            let records: Vec<NewRecord> = (stored..due)
                .map(|further| NewRecord {
                    id: format!("further-{further}"),
                    ..record(corpus, first + further % (corpus.texts.len() - first))
                })
                .collect();
            storage.insert(&records, Atomicity::AllOrNothing).await?;
            stored = due;
        }
        Ok(stored)
    }
}

/// Searches over HTTP, for vectors or for texts.
pub(super) async fn measure_http(
    endpoint: Endpoint,
    corpus: &Arc<Corpus>,
    truth: &Arc<Truth>,
    filter: &Filter,
    clients: usize,
    by_text: bool,
) -> Result<Value> {
    let (fields, searched, asked) = (filter.fields(), Arc::clone(corpus), Arc::clone(truth));
    measure(corpus, truth, clients, move |place| {
        let (mut body, question) = (fields.clone(), asked.questions()[place]);
        body["limit"] = json!(LIMIT);
        if by_text {
            body["query"] = json!(searched.texts[question].text);
        } else {
            body["embedding"] = json!(searched.vector(question));
        }
        let endpoint = endpoint.clone();
        async move {
            let found = endpoint.post("/api/v1/queries/search", &body).await?;
            let hits = found.as_array().ok_or("the answer is not a list")?;
            hits.iter().map(|hit| number(hit["id"].as_str().ok_or("a hit without id")?)).collect()
        }
    })
    .await
}

fn record(corpus: &Corpus, number: usize) -> NewRecord {
    let text = &corpus.texts[number];
    let seconds = i64::try_from(number).expect("few texts");
    let begin = PrimitiveDateTime::new(
        Date::from_calendar_date(2026, Month::January, 1).expect("a date"),
        Time::MIDNIGHT,
    );
    NewRecord {
        id: format!("bench-{number}"),
        text: text.text.clone(),
        embedding: corpus.vector(number).to_vec().into(),
        category: filters::theme(number),
        production: None,
        metadata: filters::metadata(text, number),
        created_at: begin + time::Duration::seconds(seconds),
    }
}

/// The number of a record of the benchmark.
pub(super) fn number(id: &str) -> Result<usize, String> {
    let (_, number) = id.rsplit_once('-').ok_or_else(|| format!("`{id}` is not an id of this benchmark"))?;
    number.parse().map_err(|_| format!("`{id}` is not an id of this benchmark"))
}

/// The memory of a process and its descendants, each shared page counted once, in MiB.
pub(super) fn memory_mb(pid: u32) -> Result<f64> {
    bench::shared_memory_mb(pid).context("the kernel does not tell how much memory a process has")
}
