//! Chroma Cloud's limits and a bad network, scripted in front of a real server.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use chroma::{Field, MissingReason, ProblemKind, Vector};
use store::chroma::{Error, ServerOptions};
use test_support::{HttpAnswer, HttpRequest, HttpStub};

use super::{Fixture, ids, is_get, quota_exceeded, read, read_with, warnings};

/// The action of a script on a request.
enum Fault {
    /// Forwards it.
    None,
    /// Responds instead of the server.
    Answer(HttpAnswer),
    /// Cuts the connection.
    Cut,
    /// Forwards another request instead.
    Other(HttpRequest),
}

/// A proxy in front of `fixture` with a script of faults.
fn proxy(fixture: &Arc<Fixture>, script: impl Fn(&HttpRequest) -> Fault + Send + Sync + 'static) -> HttpStub {
    let fixture = fixture.clone();
    HttpStub::start(move |request| match script(request) {
        Fault::None => Some(fixture.server.send(request)),
        Fault::Answer(answer) => Some(answer),
        Fault::Cut => None,
        Fault::Other(request) => Some(fixture.server.send(&request)),
    })
}

fn limit_of(request: &HttpRequest) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(&request.body).expect("the body is JSON");
    body["limit"].as_u64().expect("every request for records has a limit")
}

async fn check_all_are_read(count: usize, script: impl Fn(&HttpRequest) -> Fault + Send + Sync + 'static) {
    let fixture = Arc::new(Fixture::with_records(count));
    let proxy = proxy(&fixture, script);
    let (records, report) = read(&proxy.url(), 50, |_| {}).await.expect("the collection reads");
    assert_eq!(ids(&records).len(), count);
    assert!(report.complete && report.warnings.is_empty(), "{report:?}");
}

#[tokio::test]
async fn pages_shrink_to_the_quota_that_the_server_names() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    check_all_are_read(40, move |request| match is_get(request).then(|| limit_of(request)) {
        Some(limit) => {
            seen.lock().expect("no holder panics").push(limit);
            if limit > 15 { Fault::Answer(quota_exceeded(limit, 15)) } else { Fault::None }
        }
        None => Fault::None,
    })
    .await;
    let asked = asked.lock().expect("no holder panics");
    // Records: refused once, then pages of 15 that overlap by one, and the end. Ids: the same.
    assert_eq!(*asked, [50, 15, 15, 15, 15, 50_000, 15, 15, 15, 15]);
}

#[tokio::test]
async fn limit_lowered_silently_by_the_server_does_not_end_the_read() {
    check_all_are_read(40, |request| {
        if !is_get(request) {
            return Fault::None;
        }
        let mut body: serde_json::Value = serde_json::from_slice(&request.body).expect("the body is JSON");
        body["limit"] = limit_of(request).min(7).into();
        Fault::Other(HttpRequest { body: body.to_string().into(), ..request.clone() })
    })
    .await;
}

#[tokio::test]
async fn rate_limits_and_short_outages_are_waited_out() {
    let requests = AtomicU32::new(0);
    check_all_are_read(10, move |request| {
        let number = requests.fetch_add(1, Ordering::Relaxed);
        let busy =
            |status| HttpAnswer::json(status, r#"{"error":"RateLimitError","message":"Rate limited"}"#);
        match number % 5 {
            1 if is_get(request) => Fault::Answer(busy(429).with_header("retry-after", "0")),
            2 if is_get(request) => Fault::Answer(busy(503)),
            3 if is_get(request) => Fault::Cut,
            _ => Fault::None,
        }
    })
    .await;
}

#[tokio::test]
async fn pages_shrink_where_a_proxy_refuses_long_answers_or_the_server_is_slow() {
    let fixture = Arc::new(Fixture::with_records(30));
    // Such a response does not arrive before the test ends.
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let proxy = proxy(&fixture, move |request| match is_get(request).then(|| limit_of(request)) {
        Some(limit) if limit > 1000 => Fault::Answer(HttpAnswer::json(413, "")),
        Some(limit) if limit > 25 => {
            let _ = held.lock().expect("no holder panics").recv();
            Fault::Cut
        }
        _ => Fault::None,
    });
    let mut options = ServerOptions::new(proxy.url());
    options.page_records = 50;
    options.silence_timeout = Duration::from_secs(3);
    let (records, report) = read_with(&options, |_| {}).await.expect("the collection reads");
    assert_eq!(ids(&records).len(), 30);
    assert!(report.complete && report.warnings.is_empty(), "{report:?}");
    drop(release);
}

#[tokio::test]
async fn server_that_never_returns_complete_records_ends_the_read_after_a_few_attempts() {
    let fixture = Arc::new(Fixture::with_records(200));
    let wrong: [fn(&mut serde_json::Value) -> bool; 3] = [
        |answer| {
            answer["embeddings"] = serde_json::Value::Null;
            true
        },
        |answer| {
            let vectors = answer["embeddings"].as_array_mut().expect("a list");
            vectors.truncate(vectors.len().saturating_sub(2));
            true
        },
        |_| false,
    ];
    for spoil in wrong {
        let (server, requests) = (fixture.clone(), Arc::new(AtomicU32::new(0)));
        let seen = requests.clone();
        let proxy = proxy(&fixture, move |request| {
            seen.fetch_add(1, Ordering::Relaxed);
            if !is_get(request) || !request.text().contains("embeddings") {
                return Fault::None;
            }
            let mut answer: serde_json::Value =
                serde_json::from_str(&server.server.send(request).text()).expect("an answer in JSON");
            if answer["ids"].as_array().is_none_or(Vec::is_empty) {
                return Fault::None;
            }
            let is_answered = spoil(&mut answer);
            let lost = r#"{"error":"InternalError","message":"lost"}"#;
            Fault::Answer(if is_answered {
                HttpAnswer::json(200, &answer.to_string())
            } else {
                HttpAnswer::json(500, lost)
            })
        });
        let error = read(&proxy.url(), 50, |_| {}).await.expect_err("no record is whole");
        assert!(matches!(error, Error::Misaligned { .. } | Error::Status { status: 500, .. }), "{error}");
        let requests = requests.load(Ordering::Relaxed);
        assert!(requests < 200, "{requests} requests");
    }
}

#[tokio::test]
async fn record_that_the_server_fails_on_is_returned_without_the_failing_part() {
    let fixture = Arc::new(Fixture::with_records(20));
    let selected = fixture.clone();
    let proxy = proxy(&fixture, move |request| {
        if !is_get(request) {
            return Fault::None;
        }
        // Fails whenever `r007` is in the answer with its vector, and `r013` with its metadata.
        let answer = selected.server.send(request);
        let has = |id: &str, column: &str| {
            answer.text().contains(&format!("\"{id}\"")) && request.text().contains(column)
        };
        if has("r007", "embeddings") || has("r013", "metadatas") {
            return Fault::Answer(HttpAnswer::json(500, r#"{"error":"InternalError","message":"lost"}"#));
        }
        Fault::Answer(answer)
    });
    let (records, report) = read(&proxy.url(), 50, |_| {}).await.expect("the collection reads");
    assert_eq!(records.len(), 20);
    for record in &records {
        assert_eq!(record.document.as_ref(), Some(&record.id));
        let is_missing = record.vector == Vector::Missing { reason: MissingReason::NotReturned };
        assert_eq!(is_missing, record.id == "r007");
        assert_eq!(!record.problems.is_empty(), record.id == "r013");
        for problem in &record.problems {
            assert_eq!((&problem.field, problem.kind), (&Field::AllMetadata, ProblemKind::NotReturned));
            assert_eq!(&*problem.original, b"lost");
        }
    }
    expect_test::expect![[r#"
        [
            "vector_missing: 1 records have a vector that the server fails to return: `r007`",
            "record_problem: 1 records have values that their fields cannot represent: `r013`",
        ]
    "#]]
    .assert_debug_eq(&warnings(&report));
}

#[tokio::test]
async fn client_errors_are_not_retried_by_the_reader() {
    for status in [400, 401, 403, 404] {
        let fixture = Arc::new(Fixture::with_records(3));
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let proxy = proxy(&fixture, move |request| {
            if !is_get(request) {
                return Fault::None;
            }
            count.fetch_add(1, Ordering::Relaxed);
            Fault::Answer(HttpAnswer::json(status, r#"{"error":"ChromaError","message":"no such thing"}"#))
        });
        let error = read(&proxy.url(), 50, |_| {}).await.expect_err("the read fails");
        assert!(matches!(error, Error::Status { .. } | Error::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("no such thing") && text.contains("read records of collection `changing`"),
            "{text}"
        );
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn quota_below_two_records_is_an_error() {
    let fixture = Arc::new(Fixture::with_records(3));
    let proxy = proxy(&fixture, |request| {
        if is_get(request) { Fault::Answer(quota_exceeded(limit_of(request), 1)) } else { Fault::None }
    });
    let error = read(&proxy.url(), 50, |_| {}).await.expect_err("the read fails");
    assert!(error.to_string().contains("exceeds limit of 1"), "{error}");
}
