//! Access control, limits and shutdown.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use judge::runs::Shutdown;
use reqwest::Method;
use serde_json::{Value, json};
use server::{ApiKey, ConnectionLimits, Listener, Origins, ServerConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{
    faulty::{Faulty, Threads},
    served::{PATIENCE, Served, TIMES},
    stalled::{begin_export, store_megabytes},
};

#[tokio::test]
async fn all_routes_but_open_ones_require_the_key() {
    let config = ServerConfig { api_key: Some(ApiKey::new("s3cret")), ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    for path in ["/api/v1/queries/count", "/metrics", "/openapi.json", "/docs", "/nowhere"] {
        for headers in
            [&[][..], &[("x-api-key", "s3cre")], &[("x-api-key", "")], &[("authorization", "s3cret")]]
        {
            let refused = served.send(Method::GET, path, headers, None).await;
            assert_eq!(refused.message(401), "expected the server's API key in the header X-API-Key");
            assert_eq!(refused.header("www-authenticate"), "ApiKey");
        }
        let opened = served.send(Method::GET, path, &[("x-api-key", "s3cret")], None).await;
        assert_ne!(opened.status, 401, "{path}");
    }
    served.get("/health").await.data();
    assert!(served.get("/ready").await.data()["checks"].is_null(), "details are for those with the key");
    let ready = served.send(Method::GET, "/ready", &[("x-api-key", "s3cret")], None).await.data();
    let names: Vec<&str> = ready["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    let storages = ["query storage (postgres)", "evaluation storage (postgres)", "judge storage (postgres)"];
    assert_eq!(names, [&["process"], &storages[..], &["model", "background task `runner`"]].concat());
}

#[tokio::test]
async fn only_named_origins_are_allowed_by_cors() {
    let closed = Served::start().await;
    let origin = [("origin", "https://a.example")];
    assert_eq!(
        closed.send(Method::GET, "/health", &origin, None).await.header("access-control-allow-origin"),
        ""
    );
    let cors_origins = Origins::parse("https://a.example").expect("an origin");
    let config = ServerConfig { cors_origins, api_key: Some(ApiKey::new("k")), ..ServerConfig::default() };
    let open = Served::start_with(config).await;
    let preflight = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-api-key,content-type"),
    ];
    let answer = open.send(Method::OPTIONS, "/api/v1/queries", &preflight, None).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "https://a.example"));
    assert!(answer.header("access-control-allow-headers").contains("x-api-key"), "{answer:?}");
    let other = open.send(Method::GET, "/health", &[("origin", "https://b.example")], None).await;
    assert_eq!(other.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn responses_have_security_headers_and_the_page_still_works() {
    let served = Served::start().await;
    for path in ["/health", "/nowhere", "/docs"] {
        let answer = served.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{answer:?}");
    }
    let page = served.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    assert!(page.header("content-security-policy").contains("script-src 'unsafe-inline'"));
    assert!(page.text.contains("/openapi.json"));
}

#[tokio::test]
async fn safe_request_ids_are_kept_and_others_replaced() {
    let served = Served::start().await;
    let with_id = async |id: &str| {
        let answer = served.send(Method::GET, "/nowhere", &[("x-request-id", id)], None).await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(with_id("my-id_1.2").await, "my-id_1.2");
    assert_ne!(with_id("not <sane>").await, "not <sane>");
    assert!(!served.get("/health").await.header("x-request-id").is_empty());
}

/// Starts a POST without sending its body.
async fn begin_post(served: &Served, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.expect("the service listens");
    let head = format!(
        "POST /queries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    stream
}

async fn finish_post(mut stream: TcpStream, body: &str) -> String {
    stream.write_all(body.as_bytes()).await.expect("the body is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer comes");
    answer
}

/// Waits until `in_flight` requests are in progress, including the request for metrics.
async fn wait_for_requests(served: &Served, in_flight: usize) {
    let line = format!("panopticon_http_requests_in_flight {in_flight}\n");
    let end = Instant::now() + PATIENCE;
    loop {
        let metrics = served.get("/metrics").await.text;
        if metrics.contains(&line) {
            return;
        }
        assert!(Instant::now() < end, "{in_flight} requests are in progress in time: {metrics}");
        // Metrics give no notification of changes, so the test polls.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn shutdown_completes_accepted_requests_and_drops_those_with_nothing_to_lose() {
    // Nothing ends because of a time limit.
    let config = ServerConfig { request_timeout: Duration::from_secs(3_600), ..ServerConfig::default() };
    let gate = Arc::new(Semaphore::new(0));
    let served = Served::start_around(config, |storage| Faulty::gated(storage, &gate)).await;
    store_megabytes(&served, "large", 12).await;
    let mut useless = Vec::new();
    for _ in 0..20 {
        useless.push(begin_post(&served, "{}").await);
        let mut head = TcpStream::connect(served.address).await.expect("the service listens");
        head.write_all(b"GET /health HTTP/1.1\r\nhost: loc").await.expect("a part of the head is sent");
        useless.push(head);
    }
    for _ in 0..3 {
        useless.push(begin_export(&served, "large").await);
    }
    let count = served.get("/api/v1/queries/count");
    let shutdown = async {
        // The bodies, the counted request and that for metrics.
        wait_for_requests(&served, 22).await;
        served.process.begin_stopping();
        let unready = served.get("/ready").await;
        assert_eq!((unready.message(503), unready.header("retry-after")), ("not ready".to_owned(), "1"));
        served.shutdown.begin();
        for mut stream in useless {
            let dropped = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
            dropped.expect("it is dropped in time").ok();
        }
        assert!(!served.serving.is_finished(), "a request is in progress");
        gate.add_permits(1);
    };
    let (counted, ()) = tokio::join!(count, shutdown);
    assert_eq!(counted.data()["count"], 12);
    let ended = tokio::time::timeout(PATIENCE, served.serving).await.expect("it ends");
    ended.expect("it does not panic").expect("nothing was cut off");
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_rejected_at_once() {
    let config = ServerConfig { max_requests: 1, ..ServerConfig::default() };
    let gate = Arc::new(Semaphore::new(0));
    let served = Served::start_around(config, |storage| Faulty::gated(storage, &gate)).await;
    let count = || served.get("/api/v1/queries/count");
    let while_one_is_worked_on = async {
        wait_for_requests(&served, 2).await;
        let refused = count().await;
        assert_eq!(refused.message(503), "too many requests at once (1): try again");
        assert_eq!(refused.header("retry-after"), "1");
        assert!(refused.json()["data"]["request_id"].is_string(), "{refused:?}");
        served.get("/health").await.data();
        gate.add_permits(1);
    };
    let (counted, ()) = tokio::join!(count(), while_one_is_worked_on);
    assert_eq!(counted.data()["count"], 0);
    assert_eq!(count().await.data()["count"], 0, "its permit was released");
}

#[tokio::test]
async fn request_without_its_body_takes_no_permit() {
    let config = ServerConfig { max_requests: 1, ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    let body = json!({"query": "Why?", "theme": "t"}).to_string();
    let mut stalled = Vec::new();
    for _ in 0..TIMES.connections - 2 {
        stalled.push(begin_post(&served, &body).await);
    }
    wait_for_requests(&served, stalled.len() + 1).await;
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], 0);
    let last = stalled.pop().expect("there are some");
    let answer = finish_post(last, &body).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // All connections of the address are in use: the longest idle one is closed for a new one.
    for _ in 0..TIMES.connections {
        stalled.push(begin_post(&served, &body).await);
    }
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], 1);
    let mut answer = String::new();
    let closed = tokio::time::timeout(PATIENCE, stalled[0].read_to_string(&mut answer)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?} {answer}");
}

#[tokio::test]
async fn large_bodies_are_processed_on_separate_threads() {
    let threads = Threads::default();
    let config = ServerConfig::default();
    let served = Served::start_around(config, |storage| Faulty::on_threads(storage, &threads)).await;
    let seen = async |path: &str, body: Value| {
        served.post(path, body).await.data();
        std::mem::take(&mut *threads.lock().expect("no holder panics"))
    };
    let long = "word ".repeat(40_000);
    let large: serde_json::Map<String, Value> = (0..20_000).map(|n| (format!("k{n}"), n.into())).collect();
    for (path, small, large) in [
        (
            "/api/v1/queries",
            json!({"query": "x", "theme": "t"}),
            json!({"query": "x", "theme": "t", "metadata": large}),
        ),
        (
            "/api/v1/queries",
            json!({"query": "y", "theme": "t"}),
            json!({"query": long.clone(), "theme": "t"}),
        ),
        ("/api/v1/queries/search", json!({"query": "x"}), json!({"query": long.clone()})),
        (
            "/api/v1/evaluation-metrics/batch",
            json!({"items": [{"prompt": "x", "metric_type": "t"}]}),
            json!({"items": [{"prompt": long, "metric_type": "t"}]}),
        ),
    ] {
        let names = seen(path, small).await;
        assert!(!names.is_empty() && names.iter().all(|name| name != "large"), "{path}: {names:?}");
        let names = seen(path, large).await;
        assert!(!names.is_empty() && names.iter().all(|name| name == "large"), "{path}: {names:?}");
    }
}

#[tokio::test]
async fn request_that_takes_too_long_is_aborted() {
    let config = ServerConfig { request_timeout: Duration::from_millis(300), ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    let end = Instant::now() + PATIENCE;
    let answer = async {
        // A query on the locked table hangs; the lock may not be held yet.
        loop {
            let answer = served.get("/api/v1/queries/count").await;
            if answer.status != 200 {
                return answer;
            }
            assert!(Instant::now() < end, "the table is locked in time: {answer:?}");
        }
    };
    let answer = tokio::select! {
        () = served.execute("lock table queries in access exclusive mode; select pg_sleep(3600)") => {
            panic!("the lock is held for longer")
        }
        answer = answer => answer,
    };
    assert_eq!(answer.message(504), "the request took longer than 0.3 s and was aborted");
}

#[tokio::test]
async fn body_that_never_arrives_is_answered_with_408() {
    let config = ServerConfig { request_timeout: Duration::from_millis(300), ..ServerConfig::default() };
    let served = Served::start_with(config).await;
    let mut stalled = begin_post(&served, "{}").await;
    let mut answer = String::new();
    stalled.read_to_string(&mut answer).await.expect("an answer comes");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("did not arrive within 0.15 s"), "{answer}");
}

#[tokio::test]
async fn announced_body_that_is_too_large_is_rejected_at_once() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.expect("the service listens");
    let head = "POST /queries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).await.expect("an answer comes");
    assert_eq!(&answer, b"HTTP/1.1 413 ");
}

#[tokio::test]
async fn head_that_is_too_large_is_rejected() {
    let served = Served::start().await;
    let with = |bytes: usize| format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(bytes));
    assert_eq!(status_of(&served, &with(60_000), "").await, "200");
    assert_eq!(status_of(&served, &with(300_000), "").await, "431");
}

#[tokio::test]
async fn client_that_sends_no_complete_head_is_disconnected() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let address = listener.address();
    let router = Router::new().fallback(|| async { "an answer" });
    let times = ConnectionLimits { head: Duration::from_millis(300), ..TIMES };
    let shutdown = Shutdown::default();
    let serving = tokio::spawn(listener.serve(router, shutdown.clone(), times));
    let mut sent_answered =
        vec![("", 0), ("GET / HTTP/1.1\r\nhost", 0), ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 1)];
    let end = Instant::now() + PATIENCE;
    while let Some((sent, answers)) = sent_answered.pop() {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(sent.as_bytes()).await.expect("it is sent");
        let mut answer = String::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        closed.expect("it is closed in time").expect("it is closed cleanly");
        assert!(began.elapsed() >= times.head, "{sent:?}: {:?}", began.elapsed());
        if answers == 1 && answer.is_empty() {
            // The test process was suspended between connecting and sending.
            assert!(Instant::now() < end, "a whole head is answered");
            sent_answered.push((sent, answers));
            continue;
        }
        assert_eq!(answer.matches("an answer").count(), answers, "{answer}");
    }
    shutdown.begin();
    serving.await.expect("it does not panic").expect("nothing was cut off");
}

/// Sends a raw request and returns the status of the response.
pub(crate) async fn status_of(served: &Served, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(served.address).await.expect("the service listens");
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let request = format!("{head}\r\n{length}connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer comes");
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn without_a_key_pages_of_other_origins_store_read_and_delete_nothing() {
    let served = Served::start().await;
    let host = format!("host: {}", served.address);
    let body = r#"{"id": "from-a-page", "query": "stored by a web page", "theme": "csrf"}"#;
    let json = "content-type: application/json";
    for (first, rest, status) in [
        // A Blob without a type, sent by a page of another local origin.
        ("POST /api/v1/queries", vec![host.as_str(), "origin: http://localhost:21060"], "403"),
        ("POST /api/v1/queries", vec![&host, "sec-fetch-site: same-site", "sec-fetch-mode: no-cors"], "403"),
        ("POST /api/v1/runs/00000000-0000-4000-8000-000000000000/cancel", vec![&host, "origin: null"], "403"),
        ("POST /api/v1/queries", vec![&host, "content-type: text/plain"], "415"),
        ("POST /api/v1/queries", vec![&host], "415"),
        // A name that resolves to this machine.
        ("POST /api/v1/queries", vec!["host: rebound.example:8000", json], "421"),
        (
            "POST /api/v1/queries",
            vec!["host: rebound.example:8000", json, "sec-fetch-site: same-origin"],
            "421",
        ),
    ] {
        let head = format!("{first} HTTP/1.1\r\n{}", rest.join("\r\n"));
        assert_eq!(status_of(&served, &head, body).await, status, "{head}");
    }
    for first in ["GET /api/v1/queries?limit=2", "GET /metrics", "DELETE /api/v1/queries/x", "GET /ready"] {
        let head = format!("{first} HTTP/1.1\r\nhost: rebound.example:8000");
        assert_eq!(status_of(&served, &head, "").await, "421", "{head}");
    }
    assert_eq!(status_of(&served, "GET /health HTTP/1.1\r\nhost: anything", "").await, "200");
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], 0);
    // What clients send, and the page of this origin.
    let own = format!("origin: http://{}", served.address);
    for headers in [vec![host.as_str(), json], vec!["host: localhost", json], vec![&host, json, &own]] {
        let head = format!("POST /queries HTTP/1.1\r\n{}", headers.join("\r\n"));
        assert_eq!(status_of(&served, &head, body).await, "200", "{head}");
    }
}

#[tokio::test]
async fn hostile_bodies_take_linear_time_and_have_short_errors() {
    let served = Served::start().await;
    let post = async |path: &str, body: String| served.send(Method::POST, path, &[], Some(body)).await;
    let (key, ones) = ("k".repeat(500_000), vec!["1"; 500_000].join(","));
    let nul = format!(r#"{{"query": "x", "theme": "t", "metadata": {{"{key}": [{ones}], "z": "\u0000"}}}}"#);
    let zero = format!(r#"{{"query": "x", "theme": "t", "metadata": {{"{key}": [{ones}, -0.0]}}}}"#);
    let unknown = format!(r#"{{"output": "x", "theme": "t", "model_id": "m", "query": "q", "{key}": 1}}"#);
    let type_of = format!(r#"{{"query": "x", "limit": "{key}"}}"#);
    let filter = json!({"query": "x", "where": {key.clone(): {"$in": [1, "x"]}}}).to_string();
    let operator = json!({"query": "x", "where_document": {format!("${key}"): 1}}).to_string();
    for (path, body) in [
        ("/api/v1/queries", nul),
        ("/api/v1/queries", zero),
        ("/api/v1/outputs", unknown),
        ("/api/v1/queries/search", type_of),
        ("/api/v1/queries/search", filter),
        ("/api/v1/queries/search", operator),
    ] {
        let refused = post(path, body).await;
        refused.message(422);
        assert!(refused.text.len() < 6_000, "{path}: {} bytes", refused.text.len());
    }
    let many =
        format!(r#"{{"query": "x", "theme": "t", "metadata": {{"a": [{}1]}}}}"#, "1,".repeat(7_000_000));
    assert!(post("/api/v1/queries", many).await.message(422).contains("of memory"));
}

#[tokio::test]
async fn idle_connections_are_closed_for_new_ones() {
    let served = Served::start().await;
    let mut idle = Vec::new();
    // More than the limit of the address, all silent.
    for _ in 0..TIMES.connections + 20 {
        idle.push(TcpStream::connect(served.address).await.expect("the service listens"));
    }
    let answer = served.get("/api/v1/queries/count").await;
    assert_eq!(answer.data()["count"], 0);
    let mut byte = [0];
    let closed =
        tokio::time::timeout(PATIENCE, idle[0].read(&mut byte)).await.expect("the oldest was closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn requests_of_more_clients_than_connections_are_all_answered() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let address = listener.address();
    let router = Router::new().fallback(|| async { "an answer" });
    let limits = ConnectionLimits { connections: 5, ..TIMES };
    let serving = tokio::spawn(listener.serve(router, Shutdown::default(), limits));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..25 {
        clients.spawn(async move {
            let mut requests = 40;
            while requests > 0 {
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                let mut is_last = false;
                while requests > 0 && !is_last {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is sent");
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"an answer") {
                        assert_ne!(stream.read_buf(&mut answer).await.expect("it is not reset"), 0);
                    }
                    is_last = String::from_utf8_lossy(&answer).contains("connection: close");
                    requests -= 1;
                }
            }
        });
    }
    tokio::time::timeout(PATIENCE, clients.join_all()).await.expect("each client gets its turn");
    serving.abort();
}

#[tokio::test]
async fn client_that_never_reads_is_dropped() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let address = listener.address();
    // Dropped with the response.
    let held = Arc::new(());
    let body = held.clone();
    let router = Router::new().fallback(move || {
        let held = body.clone();
        async move {
            let chunks = std::iter::repeat_with(move || {
                let _held = &held;
                Ok::<_, std::convert::Infallible>(vec![b'x'; 1 << 16])
            });
            axum::body::Body::from_stream(futures_util::stream::iter(chunks))
        }
    });
    let limits = ConnectionLimits { write: Duration::from_millis(300), ..TIMES };
    let serving = tokio::spawn(listener.serve(router, Shutdown::default(), limits));
    let unused = Arc::strong_count(&held);
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it is sent");
    let mut byte = [0];
    stream.read_exact(&mut byte).await.expect("the answer begins");
    let end = Instant::now() + PATIENCE;
    while Arc::strong_count(&held) > unused {
        assert!(Instant::now() < end, "the response is still in memory");
        // A reference count gives no notification of changes, so the test polls.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    serving.abort();
}
