//! A real Chroma server on a directory, without Chroma's Python: its wheel contains the server as one extension module,
//! which any Python 3.9 or newer can run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use provision::{Content, Wheel};

use crate::{
    data_dir,
    http::{HttpAnswer, HttpRequest},
    process::{free_port, write_script},
};

/// The newest Chroma that we read.
const WHEEL: Wheel = Wheel {
    package: "chromadb",
    version: "1.5.9",
    sha256: &[
        "cc09b3df76e5a5cb386aed2715a2eea152e3949f9e1ba93c7119505377749929",
        "9192d111bd662241625867962333d99369a00769a50f8b2f58cb388731274d7e",
        "814b9c95617377f6501e5757d63dfddb554a283a7739c87b9fa573850174e6f3",
        "60701011b5e6409647fa40d12c7c5a66b2b0bfcf33a52db2ad53a30a2abc4957",
    ],
    description: "the Chroma 1.5.9 server (23 MB)",
    content: Content::Other,
    python: None,
};

/// A release before list metadata (1.5), of the oldest release line whose server needs only its wheel.
const OLDER_WHEEL: Wheel = Wheel {
    version: "1.0.20",
    sha256: &[
        "2044e1400f67588271ebd2fa654dd5333e9ad108f800aa57a6fa09237afb6142",
        "68dbe15270e743077d47360695e0af918d17b225011e00d491afefbee017097f",
        "52819408a48f0209a0ce4e6655eaaa683cce03f8081f297f88699f00bc8281aa",
        "0955b9cbd0dfe23ecfd8d911254ff9e57750acbe9c5ff723e2975290092d9d29",
    ],
    description: "the Chroma 1.0.20 server (20 MB)",
    ..WHEEL
};

/// The thread ends the server when its standard input closes, so that a killed test leaves no server running.
const END_WITH_INPUT: &str = r#"
import os, sys, threading
def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=end_with_input, daemon=True).start()
"#;

/// Chroma's command, with the package's folder before its own arguments. Imports only the extension module: the package
/// `chromadb` needs dozens of others.
const COMMAND: &str = r#"
import sys
sys.path.insert(0, sys.argv[1])
import chromadb_rust_bindings
chromadb_rust_bindings.cli(["chroma", *sys.argv[2:]])
"#;

/// Enough for a slow machine under load; usually 1 s.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The port is free when it is chosen, but another test may take it before the server binds it.
const ATTEMPTS: u32 = 5;

/// A Chroma server. It ends when this value is dropped.
pub struct ChromaServer {
    process: Child,
    port: u16,
}

/// Writes a program `chroma` into `folder`, as in an installation of Chroma 1.5.9; it reports this version.
pub fn chroma_program(folder: &Path) -> PathBuf {
    let program = folder.join("chroma");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo chroma 1.5.9\nexec python3 -I -B -c '{COMMAND}' '{}' \"$@\"\n",
        package(&WHEEL).display()
    );
    write_script(&program, &text);
    program
}

fn package(wheel: &Wheel) -> PathBuf {
    wheel.ensure(&data_dir(), &|line| println!("{line}")).expect("Chroma's wheel downloads")
}

impl ChromaServer {
    /// Serves `directory` with Chroma 1.5.9, which may write to it; an empty one becomes an empty Chroma directory. Returns
    /// when the server answers.
    pub fn start(directory: &Path) -> Self {
        Self::start_package(&package(&WHEEL), directory)
    }

    /// The same with Chroma 1.0.20.
    pub fn start_older(directory: &Path) -> Self {
        Self::start_package(&package(&OLDER_WHEEL), directory)
    }

    fn start_package(package: &Path, directory: &Path) -> Self {
        (0..ATTEMPTS).find_map(|_| Self::try_start(package, directory)).expect("Chroma starts")
    }

    fn try_start(package: &Path, directory: &Path) -> Option<Self> {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let port = free_port();
        let output = || Stdio::from(log.reopen().expect("the log opens"));
        let process = Command::new("python3")
            // Ignores the user's site and environment, and writes no bytecode into the package.
            .args(["-I", "-B", "-c", &format!("{END_WITH_INPUT}{COMMAND}")])
            .arg(package)
            .args(["run", "--path"])
            .arg(directory)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("python3 runs");
        let mut server = Self { process, port };
        let end = Instant::now() + START_TIMEOUT;
        let greeting = HttpRequest::new("GET", "/api/v2/heartbeat", "");
        while !greeting.send(port).is_ok_and(|answer| answer.status == 200) {
            let log = || fs::read_to_string(log.path()).unwrap_or_default();
            if server.process.try_wait().expect("the process can be asked").is_some() {
                println!("Chroma ended: {}", log());
                return None;
            }
            assert!(Instant::now() < end, "Chroma answers within {START_TIMEOUT:?}: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends a request as a client.
    pub fn send(&self, request: &HttpRequest) -> HttpAnswer {
        request.send(self.port).expect("the server answers")
    }

    /// Posts JSON, and expects success.
    pub fn post(&self, path: &str, json: &str) -> String {
        let answer = self.send(&HttpRequest::new("POST", path, json));
        assert!(answer.status < 300, "POST {path}: {} {}", answer.status, answer.text());
        answer.text()
    }
}

impl Drop for ChromaServer {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        assert!(ended.is_ok() || thread::panicking(), "the server can be ended");
    }
}
