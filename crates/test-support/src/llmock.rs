//! A model provider that fails on demand: PyPI's llmock, which implements the wire formats of OpenAI, Anthropic and Google
//! and keeps a journal of requests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{http::HttpRequest, process::free_port, python::python_packages};

const VERSION: &str = "0.2.2";

/// llmock and its dependencies, without optional ones that must be compiled.
const PACKAGES: [&str; 26] = [
    "llmock==0.2.2",
    "annotated-doc==0.0.7",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "certifi==2026.10.18",
    "click==8.5.1",
    "fastapi==0.165.0",
    "h11==0.16.0",
    "httpcore==1.0.9",
    "httpx==0.28.1",
    "idna==3.20",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "opentelemetry-api==1.45.2",
    "pydantic==2.14.3",
    "pydantic_core==2.50.4",
    "Pygments==2.21.0",
    "python-multipart==0.0.34",
    "PyYAML==6.0.3",
    "rich==15.0.0",
    "shellingham==1.5.4",
    "starlette==1.10.0",
    "typer==0.29.2",
    "typing-inspection==0.4.5",
    "typing_extensions==4.16.0",
    "uvicorn==0.54.0",
];

/// Ends with its standard input, so that a killed test leaves no process running.
const PROGRAM: &str = r#"
import os, sys, threading
def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=end_with_input, daemon=True).start()
sys.path.insert(0, sys.argv[1])
from llmock.cli import app
app(["serve", "--host", "127.0.0.1", "--log-level", "warning", "--port", *sys.argv[2:]])
"#;

/// Enough for a slow machine under load; usually 2 s.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The port is free when it is chosen, and may be taken by another test when the server binds it.
const ATTEMPTS: u32 = 5;

/// A running llmock. It ends when this value is dropped.
pub struct Llmock {
    process: Child,
    port: u16,
}

impl Llmock {
    /// Starts one with options of `llmock serve`, such as `["--error-rate", "429=0.05"]`. Returns when it answers.
    pub fn start(options: &[&str]) -> Self {
        let packages = install();
        (0..ATTEMPTS).find_map(|_| Self::try_start(&packages, options)).expect("llmock starts")
    }

    fn try_start(packages: &Path, options: &[&str]) -> Option<Self> {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let port = free_port();
        let output = || Stdio::from(log.reopen().expect("the log opens"));
        let process = Command::new("python3")
            .args(["-I", "-B", "-c", PROGRAM])
            .arg(packages)
            .arg(port.to_string())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("python3 runs");
        let mut server = Self { process, port };
        let end = Instant::now() + START_TIMEOUT;
        while !HttpRequest::new("GET", "/health", "").send(port).is_ok_and(|answer| answer.status == 200) {
            let log = || fs::read_to_string(log.path()).expect("the log is text");
            if server.process.try_wait().expect("the process can be asked").is_some() {
                println!("llmock ended: {}", log());
                return None;
            }
            assert!(Instant::now() < end, "llmock answers within {START_TIMEOUT:?}: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// The base URL of `provider`: `openai`, or llmock's path for another, such as `anthropic` or `gemini`.
    pub fn url(&self, provider: &str) -> String {
        let path = if provider == "openai" { "v1" } else { provider };
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Queues behaviours for the next requests, such as `{"type": "fail", "status": 429, "retry_after": 1}`.
    pub fn script(&self, behaviors: &Value) {
        let answer = self.send("POST", "/_llmock/scenario", &json!({ "behaviors": behaviors }).to_string());
        assert!(answer["queued"].is_u64(), "llmock accepts the script: {answer}");
    }

    /// Every request since the start or the last [`Self::forget`], in order, with `status`, `fault`, `body` and more.
    pub fn requests(&self) -> Vec<Value> {
        let answer = self.send("GET", "/_llmock/requests", "");
        answer["requests"].as_array().expect("llmock lists requests").clone()
    }

    /// llmock's assessment of how its client handles faults.
    pub fn verdict(&self) -> Value {
        self.send("GET", "/_llmock/verdict", "")
    }

    /// Forgets requests and behaviours.
    pub fn forget(&self) {
        self.send("POST", "/_llmock/reset", "");
    }

    fn send(&self, method: &str, path: &str, json: &str) -> Value {
        let answer = HttpRequest::new(method, path, json).send(self.port).expect("llmock answers");
        serde_json::from_slice(&answer.body).expect("llmock answers with JSON")
    }
}

impl Drop for Llmock {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        assert!(ended.is_ok() || thread::panicking(), "llmock can be ended");
    }
}

/// The folder of the packages, downloaded at the first call on a machine.
fn install() -> PathBuf {
    python_packages(&format!("llmock-{VERSION}"), &PACKAGES)
}
