//! A service under test: a separate process that serves HTTP on loopback.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::process::{children, cpu_seconds};

/// Python takes seconds to import PyTorch.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A running service. Killed on drop.
pub struct Service {
    name: &'static str,
    child: Child,
    url: String,
    client: reqwest::Client,
    /// From the start of the program to its first response that it is ready.
    pub ready_ms: f64,
}

impl Service {
    /// Starts the program, which is to listen on `port`, and waits until `/ready` answers.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not become ready.
    pub async fn start(name: &'static str, command: &mut Command, port: u16) -> Result<Self> {
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("failed to run {name}"))?;
        // reqwest needs a provider even for plain HTTP. An earlier service may have installed it.
        rustls::crypto::ring::default_provider().install_default().ok();
        // The server may close pooled connections.
        let client = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(2)).build()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut service = Self { name, child, url, client, ready_ms: 0.0 };
        loop {
            if let Ok(answer) = service.client.get(format!("{}/ready", service.url)).send().await
                && answer.status().is_success()
            {
                service.ready_ms = started.elapsed().as_secs_f64() * 1e3;
                return Ok(service);
            }
            if let Some(status) = service.child.try_wait()? {
                bail!("{name} ended with {status} before it was ready");
            }
            ensure!(started.elapsed() < READY_TIMEOUT, "{name} is not ready after {READY_TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A client for it, cheap to clone.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { url: self.url.clone(), client: self.client.clone() }
    }

    /// Its processor time so far, with that of its child processes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.child.id())
    }

    /// Its current and peak memory, in MiB, with that of its child processes.
    ///
    /// # Errors
    /// When the kernel does not report it.
    pub fn memory_mb(&self) -> Result<(f64, f64)> {
        let mut memory = (0.0, 0.0);
        let mut processes = vec![self.child.id()];
        while let Some(pid) = processes.pop() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let kilobytes = |field: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(field))?;
                line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()
            };
            memory.0 += kilobytes("VmRSS:").context("no resident memory")? / 1024.0;
            memory.1 += kilobytes("VmHWM:").context("no peak memory")? / 1024.0;
            processes.extend(children(pid)?);
        }
        Ok(memory)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client of a service.
#[derive(Clone)]
pub struct Endpoint {
    url: String,
    client: reqwest::Client,
}

impl Endpoint {
    /// The `data` of the answer to a POST of `body`.
    ///
    /// # Errors
    /// The status and message of an error response, or why there is no response.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.data(self.client.post(format!("{}{path}", self.url)).json(body)).await
    }

    /// The `data` of the answer to a GET.
    ///
    /// # Errors
    /// As for [`post`](Self::post).
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        self.data(self.client.get(format!("{}{path}", self.url))).await
    }

    async fn data(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer = request.send().await.map_err(|error| format!("{error:#}"))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| format!("{error:#}"))?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        let mut body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(body["data"].take())
    }
}
