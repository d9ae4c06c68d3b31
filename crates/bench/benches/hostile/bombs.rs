//! Requests that attack the service, each sent repeatedly.

use std::time::Duration;

use reqwest::Body;
use serde_json::{Value, json};

use crate::{
    model::MODELS,
    rows::{LARGE, run},
};

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(500);
/// The same where each begins a run, which lasts.
const RUN_PAUSE: Duration = Duration::from_secs(4);

/// A request, and how it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Bomb {
    pub(crate) name: String,
    pub(crate) path: String,
    /// `None` for a GET. Its bytes are there once, however often it is sent.
    pub(crate) body: Option<&'static str>,
    /// Clients that send it at the same time.
    pub(crate) clients: usize,
    /// Between an answer and the next request of a client.
    pub(crate) pause: Duration,
}

impl Bomb {
    fn post(name: &str, path: &str, body: String) -> Self {
        Self { body: Some(body.leak()), ..Self::get(name, path) }
    }

    fn get(name: &str, path: &str) -> Self {
        Self { name: name.to_owned(), path: format!("/api/v1/{path}"), body: None, clients: 1, pause: PAUSE }
    }

    fn clients(self, clients: usize) -> Self {
        Self { clients, ..self }
    }

    pub(crate) fn request(&self, client: &reqwest::Client, address: &str) -> reqwest::RequestBuilder {
        let url = format!("{address}{}", self.path);
        match self.body {
            Some(body) => client.post(url).header("content-type", "application/json").body(Body::from(body)),
            None => client.get(url),
        }
    }
}

/// Those on stored queries, and on `/ready`.
pub(crate) fn on_queries() -> Vec<Bomb> {
    let ready = Bomb { path: "/ready".to_owned(), ..Bomb::get("ready", "") };
    [searches(), records(), pages_of_queries(), vec![ready]].concat()
}

/// All of them.
pub(crate) fn all() -> Vec<Bomb> {
    [on_queries(), pages(), runs(), evaluations()].concat()
}

/// Patterns, filters and texts that are expensive to match.
fn searches() -> Vec<Bomb> {
    let search = |name: &str, body: Value| Bomb::post(name, "queries/search", body.to_string());
    let nested = (0..40).fold("a".to_owned(), |pattern, _| format!("({pattern}){{256,512}}"));
    let pattern = |name: &str, pattern: &str, tests: usize| {
        let test = json!({ "$regex": pattern });
        let filter = if tests == 1 { test } else { json!({ "$or": vec![test; tests] }) };
        search(name, json!({ "query": "x", "mode": "text", "where_document": filter }))
    };
    let text = |name: &str, unit: &str| search(name, json!({ "query": unit.repeat(4_000_000 / unit.len()) }));
    let key = "k".repeat(1_000_000);
    let values = (0..900).collect::<Vec<u32>>();
    vec![
        pattern("nested repetitions", &nested, 1),
        pattern("word boundaries", &r"\b".repeat(500), 100),
        pattern("word classes", &r"\w".repeat(500), 8),
        pattern("repeated word classes", r"(?:\w{200}[a-z]{255}){255}", 8),
        search("keys of a list", json!({ "query": "x", "where": { key: { "$in": values } } })),
        text("exclamation marks", "!"),
        text("Chinese", "漢"),
        text("marks", "x\u{301}\u{941}"),
        text("a long word", "w"),
        search("a word of words", json!({ "query": "w".repeat(1_800_000), "mode": "text" })),
        search("long texts found", json!({ "query": "1 1 1", "theme": "big", "limit": 100 })),
    ]
}

/// Records that are expensive to read.
fn records() -> Vec<Bomb> {
    let (key, ones) = ("k".repeat(1_000_000), vec!["1"; 1_000_000].join(","));
    let with_metadata = |name: &str, metadata: &str| {
        let body = format!(r#"{{"query": "x", "theme": "t", "metadata": {metadata}}}"#);
        Bomb::post(name, "queries", body)
    };
    let theme = json!({ "query": "x", "theme": "t".repeat(LARGE) });
    vec![
        with_metadata("place of NUL", &format!(r#"{{"{key}": [{ones}], "z": "\u0000"}}"#)),
        with_metadata("negative zero", &format!(r#"{{"{key}": [{ones}, -0.0]}}"#)),
        with_metadata("many values", &format!(r#"{{"a": [{}1]}}"#, "1,".repeat(7_000_000))),
        with_metadata("nested lists", &format!(r#"{{"a": [{}1]}}"#, "[[]],".repeat(3_000_000))),
        with_metadata("many keys", &many_keys()),
        Bomb::post("unknown name", "queries/batch", format!(r#"{{"items": [], "{key}": 1}}"#)),
        Bomb::post("large theme", "queries", theme.to_string()),
    ]
}

/// Answers that are large, of queries.
fn pages_of_queries() -> Vec<Bomb> {
    vec![
        Bomb::get("long texts in a list", "queries?theme=big&limit=1000"),
        Bomb::get("large themes in a list", "queries?limit=1000"),
        Bomb::get("export of long texts", "queries/export?theme=big"),
        Bomb::get("export of queries", "queries/export").clients(2),
    ]
}

/// Answers that are large, of other records.
fn pages() -> Vec<Bomb> {
    vec![
        Bomb::get("export of metrics", "evaluation-metrics/export").clients(2),
        Bomb::get("export of results, CSV", "results/export?format=csv").clients(2),
        Bomb::get("export of results, Parquet", "results/export?format=parquet").clients(2),
        Bomb::get("themes", "queries/themes").clients(4),
        Bomb::get("themes of outputs", "outputs/themes").clients(2),
        Bomb::get("types of metrics", "evaluation-metrics/types").clients(2),
        Bomb::get("results", "results?limit=100").clients(2),
        Bomb::get("summary of results", "results/summary").clients(2),
        Bomb::get("models", "models").clients(8),
        Bomb::get("runs", "runs?limit=100").clients(16),
    ]
}

/// Runs whose plans or texts are large, and whose models attack.
fn runs() -> Vec<Bomb> {
    let with = |name: &str, field: &str, value: Value| {
        let mut body = run(&["judge"], "helpful");
        body[field] = value;
        Bomb::post(name, "runs", body.to_string())
    };
    let three = json!({
        "query_ids": ["large"], "models": MODELS, "judge_models": ["judge"], "evaluation_prompt_ids": ["helpful"],
        "use_cache": false,
    });
    let mut bombs = vec![
        with("run with large metadata", "metadata", json!({ "k": "m".repeat(LARGE) })),
        with("run with a large name", "name", json!("n".repeat(LARGE))),
        Bomb::post("run with a large metric", "runs", run(&["judge"], "large").to_string()),
        // 60 in two minutes.
        Bomb { pause: RUN_PAUSE, ..Bomb::post("run of a large query", "runs", three.to_string()).clients(2) },
        Bomb::post(
            "large name of a model",
            "models",
            json!({ "id": "named", "provider": "openai", "name": "n".repeat(LARGE) }).to_string(),
        ),
    ];
    bombs.extend(MODELS.map(|model| {
        let post =
            Bomb::post(&format!("run of the model {model}"), "runs", run(&[model], "helpful").to_string());
        Bomb { pause: RUN_PAUSE, ..post }
    }));
    bombs
}

/// Evaluations with large metadata, and by models that attack.
fn evaluations() -> Vec<Bomb> {
    let evaluation = |name: &str, path: &str, model: &str, metadata: &str| {
        let body = json!({
            "query": "Why?", "theme": "run", "model_id": model, "judge_model": "judge",
            "evaluation_prompt_ids": ["helpful"],
        });
        let body = body.to_string().replacen('{', &format!(r#"{{"metadata": {metadata}, "#), 1);
        Bomb::post(name, path, body)
    };
    let large = format!(r#"{{"k": "{}"}}"#, "m".repeat(LARGE));
    let allowed = format!(r#"{{"k": "{}"}}"#, "m".repeat(60_000));
    let mut bombs = vec![
        evaluation("evaluation with large metadata", "evaluate/query", "judge", &large).clients(2),
        evaluation("evaluations with large metadata", "evaluate/theme", "judge", &large).clients(2),
        evaluation("evaluation with many keys", "evaluate/query", "judge", &many_keys()),
    ];
    for model in MODELS {
        let name = format!("evaluation of the model {model}");
        bombs.push(evaluation(&name, "evaluate/query", model, &allowed).clients(2));
        bombs.push(evaluation(&format!("{name} by theme"), "evaluate/theme", model, &allowed));
    }
    bombs
}

/// An object of 400,000 keys.
fn many_keys() -> String {
    let keys: Vec<String> = (0..400_000).map(|key| format!(r#""k{key}":1"#)).collect();
    format!("{{{}}}", keys.join(","))
}
