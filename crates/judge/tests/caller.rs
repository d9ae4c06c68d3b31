//! Attempts, waits and budgets, over HTTP.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use judge::{
    provider::{
        Completion, Error, Kind, Provider, ProviderConfig, Request, Wire,
        limits::{Allowance, AttemptLog, Backoff, Budget, CallError, Caller, Exceeded, Gates, Spent},
    },
    registry::{self, Model},
};
use test_support::{HttpAnswer, HttpStub};
use tokio::sync::oneshot;

const ANSWER: &str = r#"{"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [{"finish_reason": "stop",
    "message": {"content": "8"}}], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}"#;

/// A server that responds with `answers` in turn, then with [`ANSWER`]; and its number of requests.
fn server(answers: Vec<HttpAnswer>) -> (HttpStub, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let stub = HttpStub::start(move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        Some(answers.get(call).cloned().unwrap_or_else(|| HttpAnswer::json(200, ANSWER)))
    });
    (stub, calls)
}

fn caller(stub: &HttpStub, backoff: Backoff) -> Caller {
    let provider = Provider::new(ProviderConfig::new("p", Wire::OpenAi, &stub.url(), None));
    Caller::new(provider.expect("it is set up"), Gates::new(8.try_into().expect("not zero")), backoff)
}

fn quick() -> Backoff {
    Backoff { first: Duration::from_millis(1), ..Backoff::default() }
}

fn gpt_4o() -> &'static Model {
    registry::find("gpt-4o").expect("it is known")
}

fn failure(status: u16) -> HttpAnswer {
    HttpAnswer::json(status, r#"{"error": {"message": "not now"}}"#)
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let (stub, calls) = server([429, 500, 503, 529, 408].map(failure).into());
    let budget = Budget::unlimited();
    let call = caller(&stub, quick()).call(gpt_4o(), &Request::new("…"), &budget, &mut ()).await;
    assert_eq!(call.expect("an answer").text(), Some("8"));
    assert_eq!(calls.load(Ordering::Relaxed), 6);
    let Spent { requests, tokens, cost_usd, .. } = budget.spent();
    assert_eq!((requests, tokens), (6, 1100));
    assert!((cost_usd - 0.0035).abs() < 1e-12, "{cost_usd}");
}

#[tokio::test]
async fn zero_retries_means_one_attempt() {
    for (max_retries, sent) in [(0, 1), (2, 3)] {
        let (stub, calls) = server(vec![failure(500); 9]);
        let backoff = Backoff { max_retries, ..quick() };
        let call =
            caller(&stub, backoff).call(gpt_4o(), &Request::new("…"), &Budget::unlimited(), &mut ()).await;
        let Err(CallError::Provider { attempts, source }) = call else { panic!("{call:?}") };
        assert_eq!((attempts, source.kind()), (sent, Kind::ServerError));
        assert_eq!(calls.load(Ordering::Relaxed), sent as usize);
    }
}

#[tokio::test]
async fn permanent_failures_are_not_retried() {
    let quota =
        r#"{"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "pay"}}"#;
    for answer in [HttpAnswer::json(429, quota), failure(400), failure(401), failure(403), failure(404)] {
        let (stub, calls) = server(vec![answer; 2]);
        let call =
            caller(&stub, quick()).call(gpt_4o(), &Request::new("…"), &Budget::unlimited(), &mut ()).await;
        assert!(matches!(call, Err(CallError::Provider { attempts: 1, .. })), "{call:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

/// Signals the end of the first attempt.
struct Ended(Option<oneshot::Sender<()>>);

#[async_trait]
impl AttemptLog for Ended {
    type Error = Infallible;

    async fn begins(&mut self, _: u32) -> Result<(), Infallible> {
        Ok(())
    }

    async fn ended(&mut self, _: u32, _: &Result<Completion, Error>) -> Result<(), Infallible> {
        if let Some(ended) = self.0.take() {
            ended.send(()).expect("the others wait for it");
        }
        Ok(())
    }
}

#[tokio::test]
async fn hint_to_one_caller_delays_all() {
    let wait = Duration::from_millis(400);
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let stub = HttpStub::start(move |_| {
        let mut seen = seen.lock().expect("no panic");
        seen.push(Instant::now());
        Some(match seen.len() {
            1 => failure(429).with_header("retry-after-ms", "400"),
            _ => HttpAnswer::json(200, ANSWER),
        })
    });
    let caller = caller(&stub, quick());
    let call = async || caller.call(gpt_4o(), &Request::new("…"), &Budget::unlimited(), &mut ()).await;
    let (ended, first_ended) = oneshot::channel();
    let mut log = Ended(Some(ended));
    let budget = Budget::unlimited();
    let first = async {
        caller.call(gpt_4o(), &Request::new("…"), &budget, &mut log).await.expect("an answer");
    };
    let others = async {
        // The hint is known once the attempt has ended.
        first_ended.await.expect("the first attempt ends");
        tokio::join!(call(), call(), call())
    };
    let (_, others) = tokio::join!(first, others);
    assert!(others.0.is_ok() && others.1.is_ok() && others.2.is_ok());
    let times = times.lock().expect("no panic");
    assert_eq!(times.len(), 5);
    let soonest = times[1..].iter().map(|time| time.duration_since(times[0])).min();
    assert!(soonest >= Some(wait - Duration::from_millis(5)), "{soonest:?}");
}

#[tokio::test]
async fn hint_of_hours_ends_the_call() {
    let (stub, calls) = server(vec![failure(429).with_header("retry-after", "7200")]);
    let call = caller(&stub, quick()).call(gpt_4o(), &Request::new("…"), &Budget::unlimited(), &mut ()).await;
    assert!(matches!(call, Err(CallError::Provider { attempts: 1, .. })), "{call:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn exhausted_budgets_prevent_calls() {
    let (stub, calls) = server(vec![failure(500); 9]);
    let caller = caller(&stub, quick());
    let allowance = Allowance { requests: Some(3), ..Allowance::default() };
    let budget = Budget::new(allowance, Spent::default());
    let call = caller.call(gpt_4o(), &Request::new("…"), &budget, &mut ()).await;
    assert!(matches!(call, Err(CallError::Budget(Exceeded::Requests { limit: 3 }))), "{call:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let allowance = Allowance { wall_time: Some(Duration::from_millis(50)), ..Allowance::default() };
    let budget = Budget::new(allowance, Spent::default());
    let slow = Backoff { first: Duration::from_secs(3600), ..Backoff::default() };
    let caller = self::caller(&stub, slow);
    let call = async { caller.call(gpt_4o(), &Request::new("…"), &budget, &mut ()).await };
    let call = tokio::time::timeout(Duration::from_secs(60), call).await;
    let call = call.expect("it does not wait beyond its time");
    assert!(matches!(call, Err(CallError::Budget(Exceeded::WallTime { .. }))), "{call:?}");
}

/// Records its calls, or fails.
struct Log {
    lines: Vec<String>,
    refuses: bool,
}

#[async_trait]
impl AttemptLog for Log {
    type Error = &'static str;

    async fn begins(&mut self, number: u32) -> Result<(), &'static str> {
        self.lines.push(format!("{number} begins"));
        if self.refuses { Err("no room") } else { Ok(()) }
    }

    async fn ended(&mut self, number: u32, outcome: &Result<Completion, Error>) -> Result<(), &'static str> {
        let outcome = outcome.as_ref().map(Completion::text).map_err(Error::kind);
        self.lines.push(format!("{number} ended: {outcome:?}"));
        Ok(())
    }
}

#[tokio::test]
async fn attempts_are_recorded_before_and_after() {
    let (stub, calls) = server([503].map(failure).into());
    let mut log = Log { lines: Vec::new(), refuses: false };
    let caller = caller(&stub, quick());
    let call = caller.call(gpt_4o(), &Request::new("…"), &Budget::unlimited(), &mut log).await;
    call.expect("an answer");
    let lines = ["1 begins", "1 ended: Err(Overloaded)", "2 begins", "2 ended: Ok(Some(\"8\"))"];
    assert_eq!(log.lines, lines);
    log.refuses = true;
    let call = caller.call(gpt_4o(), &Request::new("…"), &Budget::unlimited(), &mut log).await;
    assert!(matches!(call, Err(CallError::Log("no room"))), "{call:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 2, "an attempt that cannot be recorded is not sent");
}
