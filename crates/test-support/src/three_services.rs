//! The data of the three old services: their Chroma directories, and the evaluation results that refer to records in them.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{ChromaServer, chroma_directory::workspace, skip};

/// Maximum queries and outputs.
const COUNT: usize = 200;

/// Metrics, whose texts are long.
const METRIC_COUNT: usize = 24;

/// Maximum length of queries and outputs, except for one in [`LONG_EVERY`] outputs: embedding takes seconds.
const SHORT_BYTES: usize = 200;
const LONG_EVERY: usize = 20;

/// Records that go to Chroma in one request.
const BATCH: usize = 40;

/// After this many records Chroma moves the judge's vectors to its index.
const JUDGE_SYNC_THRESHOLD: usize = 100;

/// The directories of the three services, and their contents.
pub struct ThreeServices {
    /// Query storage, collection `queries`.
    pub query: ServiceDirectory,
    /// Evaluation storage, collection `evaluation_metrics`.
    pub evaluation: ServiceDirectory,
    /// Judge, collection `llm_outputs`. Chroma has written the vectors of most into its index.
    pub judge: ServiceDirectory,
    /// Rows of `evaluation_results`, which have always been in PostgreSQL. Each refers to a query and a metric.
    pub results: Vec<ResultRow>,
}

/// A persist directory written by a Chroma 1.5.9 server, which has ended.
pub struct ServiceDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Its only collection.
    pub collection: &'static str,
    /// All records, in the order in which they were added.
    pub records: Vec<ServiceRecord>,
    /// Maximum deviation of vector components from those that were sent, in units in the last place: none while they are in
    /// Chroma's log, a few once they are only in a cosine index.
    pub max_ulps: u32,
}

/// A record as it was sent to Chroma.
#[derive(Clone, Debug)]
pub struct ServiceRecord {
    /// A UUID, or a provider's id of an answer (`chatcmpl-…`, `msg_…`).
    pub id: String,
    /// The text.
    pub document: String,
    /// Its embedding, `[384]`.
    pub embedding: Vec<f32>,
    /// All metadata: category, timestamp, keys of the service, and keys of the user.
    pub metadata: Map<String, Value>,
    /// `metadata["timestamp"]`: a unique past time, ISO 8601 in UTC without a zone, as Python writes it, so without a
    /// fraction if the microseconds are 0.
    pub timestamp: String,
}

/// A row of `evaluation_results`; the fields are the table's columns.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named like the columns")]
pub struct ResultRow {
    pub id: String,
    pub query_id: String,
    pub query_text: String,
    pub output_text: String,
    pub model_id: String,
    pub theme: String,
    pub evaluation_prompt_id: String,
    pub evaluation_prompt: String,
    pub score: Option<f64>,
    pub judge_model: String,
    pub timestamp: String,
    pub result_metadata: Value,
}

#[derive(Deserialize)]
struct Query {
    id: String,
    text: String,
    theme: String,
    metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Metric {
    id: String,
    prompt: String,
    metric_type: String,
    metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Output {
    id: String,
    text: String,
    model_id: String,
    theme: String,
    query: String,
    query_id: String,
    metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Judgement {
    /// Some compare two outputs.
    output_id: Option<String>,
    score: Option<f64>,
    judge_model: String,
    metric: String,
}

/// Creates the directories of the three services in `folder` with Chroma, from the shared evaluation data; the same records
/// at every call. `embed` is the product's model: a parameter, so that tests without it need not compile it. A skip and
/// `None` if the shared data is not next to the project.
pub fn three_services(folder: &Path, embed: &dyn Fn(&[&str]) -> Vec<Vec<f32>>) -> Option<ThreeServices> {
    let shared = workspace().join("../shared/data");
    if !shared.is_dir() {
        skip("needs the shared evaluation data next to the project");
        return None;
    }
    let judgements = by_output(json_lines(&shared.join("results.jsonl.gz")));
    let mut outputs: Vec<Output> = json_lines(&shared.join("outputs.jsonl.gz"));
    outputs.retain(|output| judgements.contains_key(&output.id));
    let (short, long) =
        outputs.into_iter().partition(|output| output.query.len().max(output.text.len()) <= SHORT_BYTES);
    let mut outputs = spread(short, COUNT - COUNT / LONG_EVERY);
    outputs.extend(spread(long, COUNT / LONG_EVERY));
    let asked: HashSet<&str> = outputs.iter().map(|output| output.query_id.as_str()).collect();
    let mut queries: Vec<Query> = json_lines(&shared.join("queries.jsonl.gz"));
    queries.retain(|query| asked.contains(query.id.as_str()));
    // Judgements name the first ones.
    let mut metrics: Vec<Metric> = json_lines(&shared.join("metrics.jsonl.gz"));
    let others = metrics.split_off(METRIC_COUNT / 2);
    metrics.extend(spread(others, METRIC_COUNT / 2));

    let results = result_rows(&queries, &metrics, &outputs, &judgements);
    let query = queries.into_iter().enumerate().map(|(index, query)| {
        let Query { id, text, theme, metadata } = query;
        record(uuid(&id), text, timestamp(1, index), [("theme", theme)], metadata)
    });
    let evaluation = metrics.into_iter().enumerate().map(|(index, metric)| {
        let Metric { id, prompt, metric_type, metadata } = metric;
        record(uuid(&id), prompt, timestamp(2, index), [("metric_type", metric_type)], metadata)
    });
    let judge = outputs.into_iter().enumerate().map(|(index, output)| {
        let (provider, id) = provider_and_id(&output, index);
        let Output { text, model_id, theme, query, metadata, .. } = output;
        let own =
            [("theme", theme), ("model_id", model_id), ("query", query), ("provider", provider.to_owned())];
        record(id, text, timestamp(3, index), own, metadata)
    });

    let writer = Writer { folder, embed };
    Some(ThreeServices {
        query: writer.write("query_storage_data", "queries", None, query.collect()),
        evaluation: writer.write("evaluation_storage_data", "evaluation_metrics", None, evaluation.collect()),
        judge: writer.write("judge_service_data", "llm_outputs", Some(JUDGE_SYNC_THRESHOLD), judge.collect()),
        results,
    })
}

fn json_lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(File::open(path).expect("the shared data opens"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip runs");
    let lines = BufReader::new(gzip.stdout.take().expect("standard output is piped")).lines();
    let rows = lines.map(|line| {
        let line = line.expect("the shared data is text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    let rows = rows.collect();
    assert!(gzip.wait().expect("gzip ends").success(), "{} unpacks", path.display());
    rows
}

fn by_output(judgements: Vec<Judgement>) -> HashMap<String, Vec<Judgement>> {
    let mut by_output: HashMap<String, Vec<Judgement>> = HashMap::new();
    for judgement in judgements {
        if let Some(output_id) = &judgement.output_id {
            by_output.entry(output_id.clone()).or_default().push(judgement);
        }
    }
    by_output
}

/// Up to `count` of `rows`, evenly spaced.
fn spread<T>(rows: Vec<T>, count: usize) -> Vec<T> {
    let step = rows.len().div_ceil(count).max(1);
    rows.into_iter().step_by(step).collect()
}

fn uuid(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

/// The id formats of providers. Servers of open models use OpenAI's; Google's answers had none, and the old service gave
/// them a UUID. The public data has few answers of Anthropic and Google, so some others get their format.
fn provider_and_id(output: &Output, index: usize) -> (&'static str, String) {
    let unique = Uuid::new_v5(&Uuid::NAMESPACE_OID, output.id.as_bytes());
    let hexadecimal = unique.simple().to_string();
    let model = output.model_id.to_lowercase();
    let is_of = |names: &[&str]| names.iter().any(|name| model.contains(name));
    if is_of(&["claude"]) || index % 7 == 3 {
        ("anthropic", format!("msg_01{}", &hexadecimal[..22]))
    } else if is_of(&["gemini", "gemma"]) || index % 7 == 5 {
        ("google", unique.to_string())
    } else if is_of(&["gpt", "davinci", "o3-"]) {
        ("openai", format!("chatcmpl-{}", &hexadecimal[..29]))
    } else {
        ("vllm", format!("chatcmpl-{hexadecimal}"))
    }
}

/// A unique time for each index, in this month of 2025.
fn timestamp(month: u32, index: usize) -> String {
    let (day, hour) = (1 + index / 24, index % 24);
    let (minute, second) = (index * 7 % 60, index * 13 % 60);
    let microseconds = index * 7919 % 1_000_000;
    let whole = format!("2025-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if index.is_multiple_of(10) { whole } else { format!("{whole}.{microseconds:06}") }
}

/// A record whose embedding is added later.
fn record<const N: usize>(
    id: String,
    document: String,
    timestamp: String,
    own: [(&str, String); N],
    users: Map<String, Value>,
) -> ServiceRecord {
    // As in the old services: the user's keys, then the service's. Chroma has neither null nor nested values.
    let users = users.into_iter().filter(|(_, value)| !value.is_null() && !value.is_object());
    let mut metadata: Map<String, Value> = users.collect();
    metadata.insert("timestamp".to_owned(), timestamp.clone().into());
    metadata.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
    ServiceRecord { id, document, embedding: Vec::new(), metadata, timestamp }
}

/// One row for each judgement of the outputs. The public data has only the name of the metric; if no metric has that name,
/// another is used.
fn result_rows(
    queries: &[Query],
    metrics: &[Metric],
    outputs: &[Output],
    judgements: &HashMap<String, Vec<Judgement>>,
) -> Vec<ResultRow> {
    let themes: HashMap<&str, &str> =
        queries.iter().map(|query| (query.id.as_str(), query.theme.as_str())).collect();
    let judged = outputs.iter().enumerate().flat_map(|(index, output)| {
        judgements[&output.id].iter().map(move |judgement| (index, output, judgement))
    });
    let rows = judged.enumerate().map(|(index, (output_index, output, judgement))| {
        let named = metrics.iter().find(|metric| metric.id.ends_with(&format!(":{}", judgement.metric)));
        let metric = named.unwrap_or(&metrics[index % metrics.len()]);
        let output_id = provider_and_id(output, output_index).1;
        ResultRow {
            id: uuid(&format!("result {index}")),
            query_id: uuid(&output.query_id),
            query_text: output.query.clone(),
            output_text: output.text.clone(),
            model_id: output.model_id.clone(),
            theme: themes[output.query_id.as_str()].to_owned(),
            evaluation_prompt_id: uuid(&metric.id),
            evaluation_prompt: metric.prompt.clone(),
            score: judgement.score,
            judge_model: judgement.judge_model.clone(),
            timestamp: timestamp(4, index % 600),
            result_metadata: json!({ "output_id": output_id, "metric": judgement.metric }),
        }
    });
    rows.collect()
}

struct Writer<'w> {
    folder: &'w Path,
    embed: &'w dyn Fn(&[&str]) -> Vec<Vec<f32>>,
}

impl Writer<'_> {
    /// Embeds `records` and writes them through a Chroma server.
    fn write(
        &self,
        directory: &str,
        collection: &'static str,
        sync_threshold: Option<usize>,
        mut records: Vec<ServiceRecord>,
    ) -> ServiceDirectory {
        let documents: Vec<&str> = records.iter().map(|record| record.document.as_str()).collect();
        let embeddings = (self.embed)(&documents);
        assert_eq!(embeddings.len(), records.len(), "each text has an embedding");
        for (record, embedding) in records.iter_mut().zip(embeddings) {
            record.embedding = embedding;
        }

        let path = self.folder.join(directory);
        fs::create_dir(&path).expect("a folder can be made");
        let server = ChromaServer::start(&path);
        let collections = "/api/v2/tenants/default_tenant/databases/default_database/collections";
        let mut creation = json!({ "name": collection, "metadata": { "hnsw:space": "cosine" } });
        if let Some(threshold) = sync_threshold {
            creation["configuration"] = json!({ "hnsw": { "space": "cosine", "sync_threshold": threshold } });
        }
        let created: Value = serde_json::from_str(&server.post(collections, &creation.to_string()))
            .expect("Chroma answers JSON");
        let id = created["id"].as_str().expect("a collection has an id");
        for batch in records.chunks(BATCH) {
            server.post(&format!("{collections}/{id}/add"), &addition(batch).to_string());
        }
        // Chroma writes its index when it reads it.
        let search = json!({ "query_embeddings": [records[0].embedding], "n_results": 1 });
        server.post(&format!("{collections}/{id}/query"), &search.to_string());
        let max_ulps = if sync_threshold.is_some() { 2 } else { 0 };
        ServiceDirectory { path, collection, records, max_ulps }
    }
}

fn addition(records: &[ServiceRecord]) -> Value {
    json!({
        "ids": records.iter().map(|record| &record.id).collect::<Vec<_>>(),
        "documents": records.iter().map(|record| &record.document).collect::<Vec<_>>(),
        "embeddings": records.iter().map(|record| &record.embedding).collect::<Vec<_>>(),
        "metadatas": records.iter().map(|record| &record.metadata).collect::<Vec<_>>(),
    })
}
