//! Scripted faults of llmock, over real sockets, for each provider's format.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use judge::{
    provider::{
        Completion, Kind, Provider, ProviderConfig, Request, Transport, Wire,
        limits::{Backoff, Budget, CallError, Caller, Gates},
    },
    registry::Model,
};
use serde_json::{Value, json};
use test_support::Llmock;
use tokio::task::JoinSet;

const WIRES: [(Wire, &str, &str); 3] = [
    (Wire::OpenAi, "openai", "gpt-4o"),
    (Wire::Anthropic, "anthropic", "claude-sonnet-4-5"),
    (Wire::Gemini, "gemini/v1beta", "gemini-2.5-flash"),
];

const QUICK: Backoff = Backoff {
    max_retries: 3,
    first: Duration::from_millis(10),
    longest: Duration::from_secs(1),
    longest_asked: Duration::from_secs(5),
};

fn config(llmock: &Llmock, wire: Wire, path: &str, transport: Transport) -> ProviderConfig {
    let mut config = ProviderConfig::new("llmock", wire, &llmock.url(path), Some("any".to_owned().into()));
    config.transport = transport;
    config
}

async fn call(
    config: ProviderConfig,
    model: &str,
    backoff: Backoff,
) -> Result<Completion, CallError<Infallible>> {
    let caller = Caller::new(
        Provider::new(config).expect("it is set up"),
        Gates::new(4.try_into().expect("not zero")),
        backoff,
    );
    let model = Model::unknown(model, "llmock");
    caller.call(&model, &Request::new("Say something long."), &Budget::unlimited(), &mut ()).await
}

/// Calls through `faults`; returns the result and the requests that llmock received.
async fn through(
    llmock: &Llmock,
    faults: Value,
    config: ProviderConfig,
    model: &str,
) -> (Completion, Vec<Value>) {
    llmock.forget();
    llmock.script(&faults);
    let completion = call(config, model, QUICK).await.unwrap_or_else(|error| panic!("{faults}: {error:?}"));
    (completion, llmock.requests())
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_survived_in_every_format() {
    let llmock = Llmock::start(&[]);
    for (wire, path, model) in WIRES {
        let whole =
            call(config(&llmock, wire, path, Transport::Whole), model, QUICK).await.expect("no fault");
        let text = whole.text().expect("a text").to_owned();
        let fails = json!([{"type": "fail", "status": 529}, {"type": "fail", "status": 503}]);
        let (completion, seen) =
            through(&llmock, fails, config(&llmock, wire, path, Transport::Whole), model).await;
        assert_eq!((completion.text(), seen.len()), (Some(&text[..]), 3), "{path}");
        assert_eq!(completion.usage, whole.usage);
        for kind in ["disconnect", "truncate", "malformed", "stall"] {
            let fault =
                json!([{"type": "stream_fault", "kind": kind, "after_chunks": 3, "stall_seconds": 600}]);
            let mut config = config(&llmock, wire, path, Transport::Streamed);
            if kind == "stall" {
                // No other response is silent for as long.
                config.silence_timeout = Duration::from_secs(5);
            }
            let (completion, seen) = through(&llmock, fault, config, model).await;
            assert_eq!(
                completion.text(),
                Some(&text[..]),
                "{path}, {kind}: nothing of the broken stream is in it"
            );
            assert_eq!(completion.usage, whole.usage, "{path}, {kind}");
            let faults: Vec<&Value> = seen.iter().map(|request| &request["fault"]).collect();
            assert_eq!(faults, [&json!(format!("stream:{kind}@3")), &Value::Null], "{path}");
        }
        let verdict = llmock.verdict();
        let failures = verdict["findings"].as_array().expect("findings").iter();
        let failures: Vec<&Value> = failures.filter(|finding| finding["severity"] == "error").collect();
        assert!(failures.is_empty(), "{path}: {failures:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_wait_is_observed() {
    let llmock = Llmock::start(&[]);
    for (wire, path, model) in WIRES {
        let begin = Instant::now();
        let fails = json!([{"type": "fail", "status": 429, "retry_after": 1}]);
        let (completion, seen) =
            through(&llmock, fails, config(&llmock, wire, path, Transport::Whole), model).await;
        assert!(completion.text().is_some());
        assert_eq!(seen.len(), 2, "{path}");
        assert!(begin.elapsed() >= Duration::from_secs(1), "{path}: {:?}", begin.elapsed());
        let verdict = llmock.verdict();
        assert!(!verdict.to_string().contains("retry_after_ignored"), "{path}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_failures_are_sent_once() {
    let llmock = Llmock::start(&["--context-window", "10000"]);
    let cases = [
        (json!({"type": "fail", "status": 400}), Kind::BadRequest),
        (json!({"type": "fail", "status": 401}), Kind::Unauthorized),
        (json!({"type": "fail", "status": 403}), Kind::Forbidden),
        (json!({"type": "fail", "status": 404}), Kind::NotFound),
        (json!({"type": "fail", "status": 429, "code": "insufficient_quota"}), Kind::QuotaExhausted),
    ];
    for (wire, path, model) in WIRES {
        for (fault, expected) in &cases {
            if wire != Wire::OpenAi && *expected == Kind::QuotaExhausted {
                continue;
            }
            llmock.forget();
            llmock.script(&json!([fault]));
            let outcome = call(config(&llmock, wire, path, Transport::Whole), model, QUICK).await;
            let Err(CallError::Provider { attempts: 1, source }) = outcome else {
                panic!("{fault}: {outcome:?}")
            };
            assert_eq!(source.kind(), *expected, "{path}: {source}");
            assert_eq!(llmock.requests().len(), 1, "{path}");
        }
        let provider = Provider::new(config(&llmock, wire, path, Transport::Whole)).expect("it is set up");
        let long = Request::new("word ".repeat(50_000));
        let error = provider.complete(model, &long).await.expect_err("it is too long");
        assert_eq!(error.kind(), Kind::ContextTooLong, "{path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_retries_means_one_request() {
    let llmock = Llmock::start(&[]);
    llmock.script(&json!([{"type": "fail", "status": 503, "times": null}]));
    let (wire, path, model) = WIRES[0];
    let none = Backoff { max_retries: 0, ..QUICK };
    let outcome = call(config(&llmock, wire, path, Transport::Whole), model, none).await;
    assert!(matches!(outcome, Err(CallError::Provider { attempts: 1, .. })), "{outcome:?}");
    assert_eq!(llmock.requests().len(), 1);
}

/// A quota shared by many callers: llmock accepts 60 requests of a minute at once and then one each second.
#[tokio::test(flavor = "multi_thread")]
async fn many_callers_stay_within_a_quota_after_the_first_rejection() {
    let llmock = Llmock::start(&["--rpm", "60"]);
    let (wire, path, model) = WIRES[0];
    let provider = Provider::new(config(&llmock, wire, path, Transport::Whole)).expect("it is set up");
    let caller = Caller::new(provider, Gates::new(8.try_into().expect("not zero")), Backoff::default());
    let budget = Arc::new(Budget::unlimited());
    let mut calls = JoinSet::new();
    for number in 0..66 {
        let (caller, budget, model) = (caller.clone(), budget.clone(), Model::unknown(model, "llmock"));
        calls.spawn(async move {
            let request = Request::new(format!("Question {number}"));
            caller.call(&model, &request, &budget, &mut ()).await.map(|completion| completion.latency)
        });
    }
    let outcomes = calls.join_all().await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let refused = llmock.requests().iter().filter(|request| request["status"] == 429).count();
    println!("{refused} requests were refused");
    // Eight may be in flight at the first rejection. Then one per second is sent, and sometimes one too many.
    assert!((1..=20).contains(&refused), "{refused}");
    let verdict = llmock.verdict();
    assert!(!verdict.to_string().contains("retry_after_ignored"), "{verdict}");
}
