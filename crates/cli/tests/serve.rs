//! `panopticon serve`, as users run it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, TcpListener},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{ChromaServer, HttpAnswer, HttpRequest, HttpStub, TestDatabase, chroma_program};

use crate::{
    Run,
    demo::{fresh_data_dir, postmaster},
    panopticon, run,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that serves.
pub(crate) struct Serving {
    child: Child,
    /// Ports by role.
    ports: BTreeMap<String, u16>,
    ready: String,
    stderr: JoinHandle<String>,
    _folder: TempDir,
}

/// `serve` on any free ports.
fn serve(folder: &TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = panopticon(folder.path(), &["serve"]);
    for name in ["QUERY_PORT", "EVALUATION_PORT", "JUDGE_PORT", "GATEWAY_PORT"] {
        command.env(name, "0");
    }
    command.args(arguments).envs(environment.iter().copied());
    command
}

impl Serving {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let command = serve(&folder, arguments, environment);
        Self::spawn(command, folder)
    }

    /// Returns when it is ready.
    pub(crate) fn spawn(mut command: Command, folder: TempDir) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let stderr = collect(child.stderr.take().expect("standard error is piped"));
        let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let mut ports = BTreeMap::new();
        let ready = loop {
            let Some(line) = lines.next() else {
                let status = child.wait().expect("it ends");
                panic!("it ended before it was ready: {status}: {}", stderr.join().expect("it reads"));
            };
            let line = line.expect("output is text");
            let Some((role, url)) = line.split_once(": http://") else {
                // The demo has more to say before.
                if line.starts_with("ready in ") { break line } else { continue }
            };
            let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
            ports.insert(role.to_owned(), port);
        };
        Self { child, ports, ready, stderr, _folder: folder }
    }

    pub(crate) fn url(&self, role: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports[role])
    }

    pub(crate) fn port(&self, role: &str) -> u16 {
        self.ports[role]
    }

    fn send(&self, role: &str, method: &str, path: &str, json: &str) -> HttpAnswer {
        HttpRequest::new(method, path, json).send(self.ports[role]).expect("it answers")
    }

    pub(crate) fn data(&self, role: &str, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.send(role, method, path, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut answer: Value = serde_json::from_str(&answer.text()).expect("JSON");
        answer["data"].take()
    }

    /// The status of the answer to a POST.
    pub(crate) fn status(&self, role: &str, path: &str, body: &Value) -> u16 {
        self.send(role, "POST", path, &body.to_string()).status
    }

    /// The body of an answer.
    pub(crate) fn text(&self, role: &str, path: &str) -> String {
        self.send(role, "GET", path, "").text()
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends `signal` and waits for the end.
    pub(crate) fn end(mut self, signal: Signal) -> Run {
        kill_process(self.id(), signal).expect("it is ours");
        let status = self.child.wait().expect("it ends");
        let stderr = self.stderr.join().expect("it reads");
        Run { code: status.code().expect("it exits by itself"), stdout: String::new(), stderr }
    }
}

fn collect(mut stderr: ChildStderr) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("messages are text");
        text
    })
}

/// Runs `work` outside the async threads, which test databases need.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

fn query(text: &str) -> Value {
    json!({"query": text, "theme": "physics"})
}

#[tokio::test]
async fn all_services_and_the_gateway_answer_and_stop_with_0() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let serving = Serving::start(&[], &[("DATABASE_URL", &url)]);
        let roles: Vec<&str> = serving.ports.keys().map(String::as_str).collect();
        assert_eq!(roles, ["console", "evaluation", "gateway", "judge", "query"]);
        assert_eq!(serving.port("console"), serving.port("gateway"));
        assert!(
            serving.ready.starts_with("ready in ") && serving.ready.ends_with(" ms"),
            "{}",
            serving.ready
        );
        let stored = serving.data("gateway", "POST", "/api/v1/queries", &query("What is fusion?"));
        let path = format!("/api/v1/queries/{}", stored["id"].as_str().expect("an id"));
        assert_eq!(serving.data("query", "GET", &path, &Value::Null), stored);
        for (role, own, other) in [
            ("query", "/api/v1/queries/count", "/api/v1/outputs/count"),
            ("evaluation", "/api/v1/evaluation-metrics/count", "/api/v1/queries/count"),
            ("judge", "/api/v1/results", "/api/v1/evaluation-metrics/count"),
        ] {
            serving.data(role, "GET", own, &Value::Null);
            serving.data("gateway", "GET", own, &Value::Null);
            assert_eq!(serving.send(role, "GET", other, "").status, 404, "{role} {other}");
        }
        let collections = "/api/v2/tenants/default_tenant/databases/default_database/collections";
        let created = serving.send("gateway", "POST", collections, &json!({"name": "articles"}).to_string());
        assert_eq!(created.status, 200, "{}", created.text());
        assert!(serving.text("gateway", collections).contains("articles"));
        assert_eq!(serving.send("query", "GET", collections, "").status, 404);
        let ended = serving.end(Signal::TERM);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let again = Serving::start(&["query"], &[("DATABASE_URL", &url)]);
        assert!(again.ports.len() == 2 && again.port("console") == again.port("query"), "{:?}", again.ports);
        assert_eq!(again.data("query", "GET", &path, &Value::Null), stored);
        assert_eq!(again.end(Signal::INT).code, 0);
    })
    .await;
}

#[tokio::test]
async fn gateway_reaches_services_that_run_separately() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let database = ("DATABASE_URL", url.as_str());
        let apart: Vec<Serving> = ["query", "evaluation", "judge"]
            .iter()
            .map(|what| Serving::start(&[what], &[database]))
            .collect();
        let chroma = Serving::start(&["chroma"], &[database]);
        let urls = ["query", "evaluation", "judge"].map(|role| {
            apart.iter().find(|serving| serving.ports.contains_key(role)).expect("it serves").url(role)
        });
        let environment = [
            ("QUERY_STORAGE_URL", urls[0].as_str()),
            ("EVALUATION_STORAGE_URL", &urls[1]),
            ("JUDGE_SERVICE_URL", &urls[2]),
            ("PANOPTICON_CHROMA_API_URL", &chroma.url("chroma")),
        ];
        let gateway = Serving::start(&["gateway", "--port", "0"], &environment);
        let stored = gateway.data("gateway", "POST", "/api/v1/queries", &query("What is fusion?"));
        assert_eq!(stored["metadata"]["theme"], "physics");
        gateway.data("gateway", "GET", "/api/v1/evaluation-metrics/count", &Value::Null);
        gateway.data("gateway", "GET", "/api/v1/results", &Value::Null);
        gateway.data("gateway", "GET", "/ready", &Value::Null);
        assert_eq!(gateway.text("gateway", "/api/v2/version"), "\"1.0.0\"");
        for serving in apart.into_iter().chain([gateway, chroma]) {
            assert_eq!(serving.end(Signal::TERM).code, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn non_loopback_address_requires_a_key_or_allow_open() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let database = ("DATABASE_URL", url.as_str());
        let folder = tempfile::tempdir().expect("a temporary folder");
        for environment in
            [[database, ("PANOPTICON_BIND", "0.0.0.0")], [database, ("PANOPTICON_ALLOW_OPEN", "0")]]
        {
            let refused = run(&mut serve(&folder, &["query", "--bind", "0.0.0.0"], &environment));
            assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
            assert!(
                refused.stderr.contains("API_KEY") && refused.stderr.contains("--allow-open"),
                "{refused:?}"
            );
        }
        let open = Serving::start(&["query", "--bind", "0.0.0.0", "--allow-open"], &[database]);
        open.data("query", "GET", "/api/v1/queries/count", &Value::Null);
        assert_eq!(open.end(Signal::TERM).code, 0);
        let keyed = [database, ("API_KEY", "s3cret"), ("PANOPTICON_BIND", "0.0.0.0")];
        let keyed = Serving::start(&["query"], &keyed);
        assert_eq!(keyed.send("query", "GET", "/api/v1/queries/count", "").status, 401);
        assert_eq!(keyed.send("query", "GET", "/health", "").status, 200);
        let ended = keyed.end(Signal::TERM);
        assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn invalid_configuration_aborts_startup_with_one_line_and_without_fallback() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("an address").port().to_string();
        let nowhere = "postgresql://u:s3cret@127.0.0.1:1/d";
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (arguments, name, value, code, expected) in [
            (&["query"][..], "QUERY_STORAGE_TYPE", "postgress", 2, "expected `postgres` or `chroma`"),
            (&["query"], "QUERY_STORAGE_TYPE", "chroma", 2, "CHROMA_PERSIST_DIRECTORY is not set"),
            (&["query"], "DATABASE_URL", nowhere, 1, "failed to connect to PostgreSQL at 127.0.0.1:1/d"),
            (&["query"], "QUERY_PORT", &port, 1, "failed to listen on 127.0.0.1:"),
            (&["query"], "QUERY_PORT", &port, 1, "--port of `panopticon serve query` or QUERY_PORT"),
            (&["chroma"], "GATEWAY_PORT", &port, 1, "--port of `panopticon serve chroma` or GATEWAY_PORT"),
            (&["query"], "QUERY_PORT", "web", 2, "QUERY_PORT is `web`: expected a port"),
            (&["query"], "PANOPTICON_BIND", "localhost", 2, "expected an IP address"),
            (&["query"], "PANOPTICON_MAX_REQUESTS", "0", 2, "expected a whole number from 1"),
            (&["query"], "PANOPTICON_DATABASE_CONNECTIONS", "3", 2, "expected a whole number from 4"),
            (&["query"], "PANOPTICON_MAX_STREAMS", "0", 2, "expected a whole number from 1"),
            (&["query"], "PANOPTICON_SHUTDOWN_SECONDS", "-1", 2, "expected a whole number of seconds"),
            (&["query"], "PANOPTICON_CORS_ORIGINS", "*", 2, "invalid origin `*`"),
            (&["query"], "LOG_FORMAT", "xml", 2, "expected text or json"),
            (&["gateway"], "QUERY_STORAGE_URL", "http://127.0.0.1:1", 2, "EVALUATION_STORAGE_URL is not set"),
            (&["gateway"], "QUERY_STORAGE_URL", "u:s3cret@h", 2, "QUERY_STORAGE_URL is not the URL"),
        ] {
            let ended = run(serve(&folder, arguments, &[("DATABASE_URL", &url)]).env(name, value));
            assert_eq!(ended.code, code, "{name}={value}: {ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{name}={value}: {ended:?}");
            assert!(ended.stderr.contains(expected), "{name}={value}: {ended:?}");
            assert!(!ended.stderr.contains("s3cret") && ended.stdout.is_empty(), "{name}={value}: {ended:?}");
        }
        let chroma = [("QUERY_STORAGE_TYPE", "chroma"), ("CHROMA_PERSIST_DIRECTORY", "http://127.0.0.1:1")];
        let ended = run(&mut serve(&folder, &["query"], &chroma));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.contains("the query storage does not answer"), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn records_are_stored_in_chroma_if_configured() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let chroma = ChromaServer::start(directory.path());
        let environment = [
            ("DATABASE_URL", url.as_str()),
            ("QUERY_STORAGE_TYPE", "chroma"),
            ("CHROMA_PERSIST_DIRECTORY", &chroma.url()),
        ];
        let serving = Serving::start(&[], &environment);
        let stored = serving.data("query", "POST", "/api/v1/queries", &query("What is fusion?"));
        let search = json!({"query": "fusion", "theme": "physics"});
        let found = serving.data("gateway", "POST", "/api/v1/queries/search", &search);
        assert_eq!(found[0]["id"], stored["id"]);
        let checks = serving.data("gateway", "GET", "/ready", &Value::Null);
        assert_eq!(checks["checks"][1]["name"], "query storage (chroma)");
        assert_eq!(checks["checks"][2]["name"], "evaluation storage (postgres)");
        assert_eq!(serving.end(Signal::TERM).code, 0);
    })
    .await;
}

#[tokio::test]
async fn directory_is_served_by_a_chroma_server_that_serve_starts() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let programs = tempfile::tempdir().expect("a temporary folder");
        chroma_program(programs.path());
        let inherited = std::env::var("PATH").expect("there is a path");
        let environment = |path| {
            let directory = directory.path().to_str().expect("the path is text");
            let storage = [("QUERY_STORAGE_TYPE", "chroma"), ("CHROMA_PERSIST_DIRECTORY", directory)];
            BTreeMap::from([("DATABASE_URL", url.as_str()), ("PATH", path), storage[0], storage[1]])
        };
        let with_chroma = format!("{}:{inherited}", programs.path().display());
        let environment_with_chroma: Vec<_> = environment(&with_chroma).into_iter().collect();
        let serving = Serving::start(&["query"], &environment_with_chroma);
        let stored = serving.data("query", "POST", "/api/v1/queries", &query("What is fusion?"));
        assert_eq!(serving.end(Signal::TERM).code, 0);
        assert!(directory.path().join("chroma.sqlite3").is_file(), "the directory is Chroma's");

        // The Chroma server has ended, else the next one could not open the directory.
        let serving = Serving::start(&["query"], &environment_with_chroma);
        let id = stored["id"].as_str().expect("an id");
        let found = serving.data("query", "GET", &format!("/api/v1/queries/{id}"), &Value::Null);
        assert_eq!(found["query"], "What is fusion?");
        assert_eq!(serving.end(Signal::INT).code, 0);

        let folder = tempfile::tempdir().expect("a temporary folder");
        let without_chroma: Vec<_> = environment("/nowhere").into_iter().collect();
        let ended = run(&mut serve(&folder, &["query"], &without_chroma));
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains("install it with `pip install chromadb`"), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn json_log_has_the_request_id_and_no_content_of_the_request() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        let environment = [("DATABASE_URL", url.as_str()), ("LOG_LEVEL", "INFO"), ("LOG_FORMAT", "json")];
        let serving = Serving::start(&["query"], &environment);
        serving.data("query", "POST", "/api/v1/queries", &query("A text that is nobody's business"));
        let ended = serving.end(Signal::TERM);
        let lines: Vec<Value> =
            ended.stderr.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        let answered = lines.iter().find(|line| line["message"] == "answered POST /api/v1/queries with 200");
        let answered = answered.unwrap_or_else(|| panic!("{ended:?}"));
        assert_eq!(answered["span"]["http.route"], "/api/v1/queries");
        assert!(answered["span"]["request.id"].is_string() && answered["duration_ms"].is_f64(), "{answered}");
        assert!(!ended.stderr.contains("business"), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn traces_are_sent_to_the_collector() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        // Shared with the stub's threads.
        let received: Arc<Mutex<Vec<HttpRequest>>> = Arc::default();
        let requests = Arc::clone(&received);
        let collector = HttpStub::start(move |request| {
            requests.lock().expect("no holder panics").push(request.clone());
            Some(HttpAnswer { status: 200, headers: Vec::new(), body: Vec::new() })
        });
        // Traces do not depend on the log's level.
        let environment = [
            ("DATABASE_URL", url.as_str()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("LOG_LEVEL", "ERROR"),
        ];
        let serving = Serving::start(&["query"], &environment);
        serving.data("query", "POST", "/api/v1/queries", &query("What is fusion?"));
        let ended = serving.end(Signal::TERM);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let received = received.lock().expect("no holder panics");
        assert!(received.iter().all(|request| request.path == "/v1/traces" && request.method == "POST"));
        assert!(
            received.iter().all(|request| request.header("content-type") == Some("application/x-protobuf"))
        );
        let bodies: Vec<u8> = received.iter().flat_map(|request| request.body.clone()).collect();
        let bodies = String::from_utf8_lossy(&bodies);
        for part in ["panopticon", "POST /api/v1/queries", "storage.operation", "insert", "embed.texts"] {
            assert!(bodies.contains(part), "{part}");
        }
        assert!(!bodies.contains("What is fusion?"));
    })
    .await;
}

#[test]
fn embedded_server_that_dies_is_restarted() {
    let data_dir = fresh_data_dir();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = data_dir.path().display().to_string();
    let command = serve(&folder, &["query"], &[("PANOPTICON_DATA_DIR", &path)]);
    let serving = Serving::spawn(command, folder);
    let stored = serving.data("query", "POST", "/api/v1/queries", &query("What is fusion?"));
    let postgres = postmaster(data_dir.path()).expect("the embedded server runs");
    kill_process(postgres, Signal::KILL).expect("it is ours");
    let path = format!("/api/v1/queries/{}", stored["id"].as_str().expect("an id"));
    let end = Instant::now() + PATIENCE;
    loop {
        let is_another = postmaster(data_dir.path()).is_some_and(|id| id != postgres);
        let answer = serving.send("query", "GET", &path, "");
        if is_another && answer.status == 200 {
            break;
        }
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        assert!(Instant::now() < end, "the server comes back in time: {}", answer.text());
        thread::sleep(Duration::from_millis(100));
    }
    let ended = serving.end(Signal::TERM);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("had died and was restarted"), "{ended:?}");
    assert_eq!(postmaster(data_dir.path()), None, "it stops with its last user");
    fs::metadata(data_dir.path().join("postgres/data/base")).expect("its data is kept");
}
