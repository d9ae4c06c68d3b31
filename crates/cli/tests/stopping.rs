//! Shutdown of `serve` while clients watch and models hang.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::{Mutex, mpsc},
    time::Instant,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use test_support::{HttpStub, TestDatabase};

use crate::{
    Run,
    serve::{PATIENCE, Serving, blocking},
};

/// A provider that receives requests and does not answer before the test ends.
struct Hanging {
    stub: HttpStub,
    asked: mpsc::Receiver<()>,
    _answer: mpsc::Sender<()>,
}

impl Hanging {
    fn start() -> Self {
        let (ask, asked) = mpsc::channel();
        let (answer, answered) = mpsc::channel::<()>();
        let (ask, answered) = (Mutex::new(ask), Mutex::new(answered));
        let stub = HttpStub::start(move |_| {
            // The test may have ended.
            let _ended = ask.lock().expect("no holder panics").send(());
            let _ended = answered.lock().expect("no holder panics").recv();
            None
        });
        Self { stub, asked, _answer: answer }
    }

    fn is_asked(&self) {
        self.asked.recv_timeout(PATIENCE).expect("the model is asked in time");
    }
}

/// Sends a request without waiting for the answer.
fn send(port: u16, method: &str, path: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out is set");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the head is sent");
    stream.write_all(body.as_bytes()).expect("the body is sent");
    stream
}

/// A client that watches the run and has received its first event.
fn watch(port: u16, run: &str) -> TcpStream {
    let mut stream = send(port, "GET", &format!("/api/v1/runs/{run}/events"), &Value::Null);
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    while !seen.contains("event: progress") {
        let count = stream.read(&mut bytes).expect("an event comes");
        assert!(count > 0, "it ended early: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    stream
}

/// The rest of the answer, and whether it was complete.
fn rest(mut stream: TcpStream) -> (String, io::Result<usize>) {
    let mut text = String::new();
    let ended = stream.read_to_string(&mut text);
    (text, ended)
}

/// Ends `serving`, which has a second to finish requests. The calls would take until the end of the test.
fn ended_within_its_limit(serving: Serving, signal: Signal) -> Run {
    let began = Instant::now();
    let ended = serving.end(signal);
    assert!(began.elapsed() < PATIENCE, "{:?}: {ended:?}", began.elapsed());
    ended
}

const SECOND: (&str, &str) = ("PANOPTICON_SHUTDOWN_SECONDS", "1");

/// A server with a run whose model has been asked, and the run's id.
fn serve_hanging(url: &str, hanging: &Hanging) -> (Serving, String) {
    let base = format!("{}/v1", hanging.stub.url());
    let environment = [("DATABASE_URL", url), ("OPENAI_BASE_URL", &base), SECOND];
    let serving = Serving::start(&[], &environment);
    let post = |path: &str, body: Value| serving.data("gateway", "POST", path, &body);
    post("/api/v1/queries", json!({"query": "What is fusion?", "theme": "physics"}));
    post("/api/v1/evaluation-metrics", json!({"id": "m", "prompt": "Is it?", "metric_type": "quality"}));
    let run = post(
        "/api/v1/runs",
        json!({"theme": "physics", "models": ["gpt-4o"], "evaluation_prompt_ids": ["m"]}),
    );
    hanging.is_asked();
    (serving, run["id"].as_str().expect("an id").to_owned())
}

#[tokio::test]
async fn watchers_and_a_hanging_call_of_a_run_do_not_prevent_shutdown() {
    for signal in [Signal::TERM, Signal::INT] {
        let database = TestDatabase::serving().await;
        let url = database.url();
        blocking(move || {
            let hanging = Hanging::start();
            let (serving, run) = serve_hanging(&url, &hanging);
            let watchers = ["gateway", "judge"].map(|role| watch(serving.port(role), &run));
            let ended = ended_within_its_limit(serving, signal);
            // The next process repeats the call: nothing was aborted.
            assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
            for watcher in watchers {
                let (text, ended) = rest(watcher);
                ended.expect("the connection is closed in order");
                assert!(text.ends_with("0\r\n\r\n"), "the stream is whole: {text}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn request_whose_model_hangs_is_aborted_at_the_limit_and_reported() {
    let database = TestDatabase::serving().await;
    let url = database.url();
    blocking(move || {
        let hanging = Hanging::start();
        let (serving, _) = serve_hanging(&url, &hanging);
        let body =
            json!({"query": "Why?", "theme": "t", "model_id": "gpt-4o", "evaluation_prompt_ids": ["m"]});
        let request = send(serving.port("judge"), "POST", "/api/v1/evaluate/query", &body);
        hanging.is_asked();
        let ended = ended_within_its_limit(serving, Signal::TERM);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("was closed after 1 s while requests were in progress"), "{ended:?}");
        let (text, _) = rest(request);
        assert_eq!(text, "", "no partial answer");
    })
    .await;
}

#[tokio::test]
async fn separate_gateway_ends_while_its_clients_watch() {
    let database = TestDatabase::serving().await;
    let url = database.url();
    blocking(move || {
        let hanging = Hanging::start();
        let (serving, run) = serve_hanging(&url, &hanging);
        let at = |role: &str| format!("http://127.0.0.1:{}", serving.port(role));
        let urls = [at("query"), at("evaluation"), at("judge")];
        let environment = [
            ("QUERY_STORAGE_URL", urls[0].as_str()),
            ("EVALUATION_STORAGE_URL", &urls[1]),
            ("JUDGE_SERVICE_URL", &urls[2]),
            SECOND,
        ];
        let gateway = Serving::start(&["gateway", "--port", "0"], &environment);
        let watcher = watch(gateway.port("gateway"), &run);
        let ended = ended_within_its_limit(gateway, Signal::TERM);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let (text, ended) = rest(watcher);
        ended.expect("the connection is closed in order");
        assert!(text.ends_with("0\r\n\r\n"), "the stream is whole: {text}");
        assert_eq!(ended_within_its_limit(serving, Signal::TERM).code, 0);
    })
    .await;
}
