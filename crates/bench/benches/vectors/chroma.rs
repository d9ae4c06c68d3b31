//! A Chroma server with the same records, over HTTP.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    embeddings::Corpus,
    filters::{self, Filter},
    measured::measure,
    ours::number,
    truth::{LIMIT, Truth},
};

const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";
const TOGETHER: usize = 1_000;
const READY: Duration = Duration::from_secs(120);

pub(super) struct Chroma {
    program: PathBuf,
    directory: PathBuf,
    port: u16,
    child: Child,
    client: reqwest::Client,
    collection: String,
}

impl Chroma {
    /// Starts a server with an empty collection of cosine distance in a new directory.
    pub(super) async fn start(program: &Path, directory: &Path, port: u16) -> Result<Self> {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        std::fs::create_dir_all(directory)?;
        let child = spawn(program, directory, port)?;
        let client = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(2)).build()?;
        let (program, directory) = (program.to_owned(), directory.to_owned());
        let mut chroma = Self { program, directory, port, child, client, collection: String::new() };
        chroma.is_ready().await?;
        let made = chroma
            .send(Method::POST, "", &json!({"name": "bench", "configuration": {"hnsw": {"space": "cosine"}}}))
            .await
            .map_err(anyhow::Error::msg)?;
        chroma.collection = format!("/{}", made["id"].as_str().context("no id")?);
        Ok(chroma)
    }

    /// Adds the first `count` texts; returns the seconds.
    pub(super) async fn fill(&self, corpus: &Corpus, count: usize) -> Result<f64> {
        let began = Instant::now();
        for first in (0..count).step_by(TOGETHER) {
            let numbers = || first..count.min(first + TOGETHER);
            let metadata = |number: usize| {
                let mut metadata = filters::metadata(&corpus.texts[number], number);
                metadata.insert("theme".to_owned(), filters::theme(number).into());
                metadata
            };
            let body = json!({
                "ids": numbers().map(|number| format!("bench-{number}")).collect::<Vec<_>>(),
                "embeddings": numbers().map(|number| corpus.vector(number)).collect::<Vec<_>>(),
                "documents": numbers().map(|number| &corpus.texts[number].text).collect::<Vec<_>>(),
                "metadatas": numbers().map(metadata).collect::<Vec<_>>(),
            });
            self.send(Method::POST, "/add", &body).await.map_err(anyhow::Error::msg)?;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Sets `ef_search` to `candidates`. A loaded index keeps its value, so the server is restarted.
    pub(super) async fn set_candidates(&mut self, candidates: u32) -> Result<()> {
        let body = json!({"new_configuration": {"hnsw": {"ef_search": candidates}}});
        self.send(Method::PUT, "", &body).await.map_err(anyhow::Error::msg)?;
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.program, &self.directory, self.port)?;
        self.is_ready().await
    }

    pub(super) async fn measure(
        &self,
        corpus: &Arc<Corpus>,
        truth: &Arc<Truth>,
        filter: &Filter,
        clients: usize,
    ) -> Result<Value> {
        let (client, url) = (self.client.clone(), self.url("/query"));
        let (condition, searched, asked) = (filter.condition(), Arc::clone(corpus), Arc::clone(truth));
        measure(corpus, truth, clients, move |place| {
            let mut body = json!({
                "query_embeddings": [searched.vector(asked.questions()[place])],
                "n_results": LIMIT,
                "include": ["distances", "documents", "metadatas"],
            });
            if let Some(condition) = &condition {
                body["where"] = condition.clone();
            }
            let (client, url) = (client.clone(), url.clone());
            async move {
                let answer = sent(client.post(url).json(&body)).await?;
                let ids = answer["ids"][0].as_array().ok_or("no ids")?;
                ids.iter().map(|id| number(id.as_str().ok_or("an id is not a string")?)).collect()
            }
        })
        .await
    }

    /// The server's process.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its size on disk.
    pub(super) fn bytes(&self) -> Result<u64> {
        size(&self.directory)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{COLLECTIONS}{}{path}", self.port, self.collection)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        sent(self.client.request(method, self.url(path)).json(body)).await
    }

    async fn is_ready(&mut self) -> Result<()> {
        let (url, began) = (format!("http://127.0.0.1:{}/api/v2/heartbeat", self.port), Instant::now());
        loop {
            if self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("Chroma ended with {status} before it was ready");
            }
            ensure!(began.elapsed() < READY, "Chroma is not ready after {READY:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Chroma {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(program: &Path, directory: &Path, port: u16) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(["run", "--host", "127.0.0.1", "--port", &port.to_string(), "--path"]).arg(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("failed to run `{}`", program.display()))
}

async fn sent(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|error| format!("{error:#}"))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| format!("{error:#}"))?;
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
