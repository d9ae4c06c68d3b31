//! `panopticon health` and `panopticon --version`.

use std::{net::TcpListener, thread};

use rustix::process::Signal;
use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpRequest, HttpStub, TestDatabase};

use crate::{
    Run, json, panopticon, run,
    serve::{Serving, blocking},
};

fn health(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), &["health"]);
    run(command.args(arguments).envs(environment.iter().copied()))
}

/// Asserts that `ended` printed one line, and returns it.
fn line(ended: &Run, code: i32) -> &str {
    assert_eq!(ended.code, code, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    ended.stdout.trim_end()
}

#[tokio::test]
async fn served_services_are_healthy_with_and_without_a_key() {
    let database = TestDatabase::create().await;
    let url = database.url();
    blocking(move || {
        for key in [None, Some("k-1")] {
            let mut environment = vec![("DATABASE_URL", url.clone())];
            environment.extend(key.map(|key| ("API_KEY", key.to_owned())));
            let served: Vec<(&str, &str)> =
                environment.iter().map(|(name, value)| (*name, &**value)).collect();
            let serving = Serving::start(&[], &served);
            let [gateway, judge] = ["gateway", "judge"].map(|role| serving.port(role).to_string());
            // The container's own settings; a probe of a load balancer without the key; another service; a URL.
            let own =
                [("GATEWAY_PORT", gateway.as_str()), ("PANOPTICON_BIND", "0.0.0.0"), ("API_KEY", "k-1")];
            let expected = format!("ready: http://127.0.0.1:{gateway}/ready");
            assert_eq!(line(&health(&[], &own), 0), expected);
            assert_eq!(line(&health(&["gateway"], &own[..2]), 0), expected);
            let expected = format!("ready: http://127.0.0.1:{judge}/ready");
            assert_eq!(line(&health(&["judge"], &[("JUDGE_PORT", &judge)]), 0), expected);
            assert_eq!(line(&health(&[&format!("http://127.0.0.1:{judge}/")], &[]), 0), expected);
            assert_eq!(serving.end(Signal::TERM).code, 0);
        }
    })
    .await;
}

#[test]
fn service_that_is_not_ready_is_reported_with_its_reasons() {
    let answers = [
        (
            503,
            json!({"status": "error", "message": "not ready", "data": {"checks": [
                {"name": "process", "ready": true, "reason": null},
                {"name": "queries", "ready": false, "reason": "the database\n\u{1b}[2J is unavailable"},
                {"name": "model", "ready": false, "reason": null},
            ]}}),
            r"queries: the database \u{1b}[2J is unavailable; model",
        ),
        (503, json!({"status": "error", "message": "not ready", "data": null}), "not ready (HTTP 503)"),
        (401, json!({"status": "error", "message": "expected a key"}), "expected a key (HTTP 401)"),
        (200, json!({"status": "error", "message": "odd"}), "odd (HTTP 200)"),
        (200, json!({"hello": "world"}), "the answer is not from Panopticon (HTTP 200)"),
        (200, json!(["x".repeat(2 << 20)]), "the answer is not from Panopticon (HTTP 200)"),
        (302, json!({}), "the answer is not from Panopticon (HTTP 302)"),
    ];
    for (status, body, reason) in answers {
        let stub = HttpStub::start(move |request: &HttpRequest| {
            assert_eq!(request.path, "/ready");
            Some(HttpAnswer::json(status, &body.to_string()))
        });
        let ended = health(&[&stub.url()], &[]);
        assert_eq!(line(&ended, 1), format!("not ready: {}/ready: {reason}", stub.url()));
    }
}

#[test]
fn service_that_does_not_answer_is_not_ready_within_the_limit() {
    // The kernel accepts connections; nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let ended = health(&[&url, "--timeout", "1"], &[]);
    assert_eq!(line(&ended, 1), format!("not ready: {url}/ready: no answer within 1 s"));
    // It begins to answer and never ends.
    let answering = thread::spawn(move || {
        let (mut stream, _) = silent.accept().expect("the first");
        drop(stream);
        (stream, _) = silent.accept().expect("the second");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
            .expect("written");
        stream
    });
    let ended = health(&[&url, "--timeout", "1"], &[]);
    assert!(line(&ended, 1).starts_with(&format!("not ready: {url}/ready: ")), "{ended:?}");
    drop(answering.join().expect("it ends"));
    let ended = health(&[&url], &[]);
    assert!(line(&ended, 1).contains("refused"), "{ended:?}");
}

#[test]
fn what_is_asked_must_be_a_service_or_a_url_and_passwords_are_not_repeated() {
    for arguments in [["localhost:8000"], ["nonsense"], ["ftp://u:secret@h"]] {
        let ended = health(&arguments, &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(!ended.stderr.contains("secret"), "{ended:?}");
    }
    let ended = health(&["query"], &[("QUERY_PORT", "0")]);
    assert!(ended.code == 2 && ended.stderr.contains("QUERY_PORT is 0"), "{ended:?}");
    let ended = health(&["http://u:secret@127.0.0.1:1"], &[]);
    assert!(ended.code == 1 && !ended.stdout.contains("secret"), "{ended:?}");
}

#[test]
fn version_names_build_and_schema_whatever_the_settings() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Settings that every other command refuses.
    let version = |arguments: &[&str]| run(panopticon(folder.path(), arguments).env("LOG_LEVEL", "loud"));
    for flag in ["--version", "-V"] {
        let ended = version(&[flag]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (0, concat!("panopticon ", env!("CARGO_PKG_VERSION"), "\n"))
        );
    }
    for arguments in [["--version", "--json"], ["--json", "-V"]] {
        let ended = version(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        let build: Value = json(&ended);
        assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
        assert!(
            build["schema_version"].as_i64().is_some_and(|version| version > 20_260_000_000_000),
            "{build}"
        );
        assert_eq!(
            build["target"].as_str().map(|target| target.starts_with(std::env::consts::ARCH)),
            Some(true)
        );
        assert!(["debug", "release"].map(Value::from).contains(&build["profile"]), "{build}");
        assert_eq!(build["postgresql"], json!({"oldest": "14", "packaged": "18.6"}));
        assert_eq!(build["pgvector"], json!({"oldest": "0.7", "packaged": "0.8.6"}));
        assert!(build.as_object().is_some_and(|build| build.contains_key("commit")), "{build}");
    }
    let ended = version(&["--json"]);
    assert!(ended.code == 2 && ended.stderr.contains("--version"), "{ended:?}");
    let ended = version(&["--data-dir", "x"]);
    assert!(ended.code == 2 && ended.stderr.contains("expected a command"), "{ended:?}");
}
