//! A server of Chroma's API: a separate process, with a collection of cosine distance.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bench::cpu_seconds;
use reqwest::{Method, header};
use serde_json::{Value, json};

const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";
const READY: Duration = Duration::from_secs(120);

/// A running server. Killed on drop.
pub(super) struct ChromaServer {
    name: &'static str,
    command: Command,
    child: Child,
    postgres: Option<u32>,
    endpoint: Endpoint,
}

/// A client of its collection, cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoint {
    client: reqwest::Client,
    server: String,
    collection: String,
}

impl ChromaServer {
    /// Starts the program, which is to listen on `port` and whose database is that of the process `postgres`.
    pub(super) async fn start(
        name: &'static str,
        mut command: Command,
        port: u16,
        postgres: Option<u32>,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("failed to run {name}"))?;
        // reqwest needs a provider even for plain HTTP. An earlier server may have installed it.
        // It fails if one is installed already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(2)).build()?;
        let endpoint =
            Endpoint { client, server: format!("http://127.0.0.1:{port}"), collection: String::new() };
        let mut server = Self { name, command, child, postgres, endpoint };
        server.is_ready().await?;
        let body = json!({"name": "bench", "configuration": {"hnsw": {"space": "cosine"}}});
        let made = server.endpoint.send(Method::POST, "", body.to_string().into_bytes()).await;
        let made: Value = serde_json::from_slice(&made.map_err(anyhow::Error::msg)?)?;
        server.endpoint.collection = format!("/{}", made["id"].as_str().context("no id")?);
        Ok(server)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Sets Chroma's `ef_search`. A loaded index keeps its value, so the server is restarted.
    pub(super) async fn set_candidates(&mut self, candidates: u32) -> Result<()> {
        let body = json!({"new_configuration": {"hnsw": {"ef_search": candidates}}});
        let sent = self.endpoint.send(Method::PUT, "", body.to_string().into_bytes()).await;
        sent.map_err(anyhow::Error::msg)?;
        self.child.kill()?;
        self.child.wait()?;
        self.child = self.command.spawn()?;
        self.is_ready().await
    }

    /// Processor time so far, of the server and of PostgreSQL.
    pub(super) fn cpu_seconds(&self) -> Result<(f64, f64)> {
        let of_postgres = self.postgres.map_or(Ok(0.0), cpu_seconds)?;
        Ok((cpu_seconds(self.child.id())?, of_postgres))
    }

    /// The memory of its process now and at its peak, in MiB.
    pub(super) fn memory_mb(&self) -> Result<Value> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let megabytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
        };
        Ok(json!({"now": megabytes("VmRSS:"), "peak": megabytes("VmHWM:")}))
    }

    async fn is_ready(&mut self) -> Result<()> {
        let (url, began) = (format!("{}/api/v2/heartbeat", self.endpoint.server), Instant::now());
        loop {
            let answer = self.endpoint.client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready", self.name);
            }
            ensure!(began.elapsed() < READY, "{} is not ready after {READY:?}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for ChromaServer {
    fn drop(&mut self) {
        // It may have ended already.
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Endpoint {
    /// The answer to a POST of `body`.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
        self.send(Method::POST, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let url = format!("{}{COLLECTIONS}{}{path}", self.server, self.collection);
        let request = self.client.request(method, url).header(header::CONTENT_TYPE, "application/json");
        let answer = request.body(body).send().await.map_err(|error| format!("{error:#}"))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| format!("{error:#}"))?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        Ok(body.to_vec())
    }
}
