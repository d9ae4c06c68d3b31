//! The console in a real browser, on the demo's data and the results of runs: Chromium, without a window.

mod keyboard;
mod labels;
mod pages;
mod provider;
mod records;
mod runs;
mod screenshots;
mod sign_in;
mod without_scripts;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{Chromium, PageScripts, Tab, TestDatabase, sample};
use tokio::sync::Mutex;

use self::provider::Provider;
use crate::{
    panopticon, run,
    serve::{PATIENCE, Serving, blocking},
};

/// The site of the tests that are running now. It ends with the last one.
static SITE: Mutex<Weak<Site>> = Mutex::const_new(Weak::new());

/// A served database, and the browser.
struct Site {
    url: String,
    chromium: Chromium,
    provider: Provider,
    /// A Chroma directory from which the console may start migrations.
    chroma: TempDir,
    database: TestDatabase,
    serving: Option<Serving>,
    records: RwLock<()>,
}

/// Runs `test` on the site. Without a browser, it is skipped.
async fn on_site(test: impl FnOnce(&Site) + Send + 'static) {
    let site = {
        let mut shared = SITE.lock().await;
        match shared.upgrade() {
            Some(site) => site,
            None => {
                let Some(site) = Site::start().await else { return };
                let site = Arc::new(site);
                *shared = Arc::downgrade(&site);
                site
            }
        }
    };
    blocking(move || test(&site)).await;
}

impl Site {
    async fn start() -> Option<Self> {
        let chromium = blocking(Chromium::start).await?;
        let database = TestDatabase::serving().await;
        let database_url = database.url();
        let started = blocking(move || {
            migrate_sample(&database_url);
            let (provider, chroma) = (Provider::start(), sample("evaluation_storage_data"));
            let environment = [
                ("DATABASE_URL", database_url.as_str()),
                ("OPENAI_BASE_URL", &provider.url()),
                ("OPENAI_API_KEY", "any"),
                ("MODEL_MAX_CONCURRENCY", "8"),
                ("PANOPTICON_MIGRATION_SOURCES", chroma.path().to_str().expect("a path")),
            ];
            let serving = Serving::start(&[], &environment);
            let (url, records) = (serving.url("console"), RwLock::default());
            let site = Self { url, chromium, provider, chroma, database, serving: Some(serving), records };
            evaluate(site.api());
            site
        });
        Some(started.await)
    }

    /// A browser at `path`.
    fn tab(&self, scripts: PageScripts, path: &str) -> Tab {
        let tab = self.chromium.open(scripts);
        tab.open(&self.at(path));
        tab
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Until the guard is dropped, no other test adds or deletes records.
    fn unchanged(&self) -> RwLockReadGuard<'_, ()> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the guard is dropped, records may be added and deleted.
    fn changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server, to prepare or check what a page shows.
    fn api(&self) -> &Serving {
        self.serving.as_ref().expect("it runs until the site is dropped")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        let ended = serving.end(Signal::TERM);
        let is_clean = ended.code == 0 && !ended.stderr.contains(" ERROR ");
        assert!(is_clean || thread::panicking(), "{ended:?}");
    }
}

/// The data of `panopticon demo`, which would need a server of its own.
fn migrate_sample(database_url: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), &["migrate", "all"]);
    command.env("DATABASE_URL", database_url);
    let samples = [
        ("CHROMA_PERSIST_DIRECTORY", "query_storage_data"),
        ("EVALUATION_PERSIST_DIRECTORY", "evaluation_storage_data"),
        ("JUDGE_PERSIST_DIRECTORY", "judge_service_data"),
    ]
    .map(|(setting, name)| (setting, sample(name)));
    command.envs(samples.iter().map(|(setting, folder)| (setting, folder.path())));
    let ended = run(&mut command);
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Has two models answer and a judge score and compare the answers, and searches, so that every page has something to show.
fn evaluate(serving: &Serving) {
    let metrics = serving.data("gateway", "GET", "/api/v1/evaluation-metrics?limit=2", &Value::Null);
    let metrics: Vec<&str> = metrics["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|metric| metric["id"].as_str())
        .collect();
    for (name, mode, limit, metrics) in [
        ("two models, two metrics", "pointwise", 24, &metrics[..]),
        ("which of two answers", "pairwise", 12, &metrics[..1]),
    ] {
        let request = json!({
            "name": name, "mode": mode, "limit": limit, "models": ["gpt-4o", "gpt-4o-mini"], "judge_models": ["gpt-4.1"],
            "evaluation_prompt_ids": metrics, "start_date": "2000-01-01",
        });
        let run = serving.data("gateway", "POST", "/api/v1/runs", &request);
        assert_eq!(ended(serving, run["id"].as_str().expect("an id"))["state"], "completed");
    }
    let results = serving.data("gateway", "GET", "/api/v1/results?limit=100", &Value::Null);
    let results =
        results["items"].as_array().expect("a list").iter().filter(|result| !result["score"].is_null());
    let label = |(place, (result, annotator)): (usize, (&Value, &str))| {
        let score = result["score"].as_f64().expect("a number");
        json!({
            "annotator": annotator, "query_id": result["query_id"], "model_id": result["model_id"],
            "evaluation_prompt_id": result["evaluation_prompt_id"], "score": (score - (place % 3) as f64).max(1.0),
        })
    };
    let labels = results.take(20).flat_map(|result| ["ada", "ben"].map(|annotator| (result, annotator)));
    let labels: Vec<Value> = labels.enumerate().map(label).collect();
    serving.data("gateway", "POST", "/api/v1/labels", &json!({ "labels": labels }));
    for query in ["fusion power", "vaccines", "a poem about the sea"] {
        serving.data("gateway", "POST", "/api/v1/queries/search", &json!({ "query": query }));
    }
}

/// The page has neither logged an error nor violated its policy since the last look.
fn assert_no_errors(tab: &Tab) {
    let errors = tab.log("browser");
    assert!(errors.is_empty(), "{}: {errors:#?}", tab.url());
}

/// The id of a metric.
fn metric(serving: &Serving) -> String {
    let metrics = serving.data("gateway", "GET", "/api/v1/evaluation-metrics?limit=1", &Value::Null);
    metrics["items"][0]["id"].as_str().expect("an id").to_owned()
}

/// The run, once it is no longer running.
fn ended(serving: &Serving, id: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let run = serving.data("gateway", "GET", &format!("/api/v1/runs/{id}"), &Value::Null);
        if run["state"] != "running" {
            return run;
        }
        assert!(Instant::now() < end, "the run ends in time: {run}");
        // The API does not notify: the test polls, and no assertion rests on the pause.
        thread::sleep(Duration::from_millis(20));
    }
}
