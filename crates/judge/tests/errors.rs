//! Classification of recorded errors: whether to retry, and why.

use std::time::Duration;

use expect_test::expect;
use judge::provider::{Disposition, Error, Kind, Rejection};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};

use test_support::shared_lines as lines;

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);

fn read(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Rejection {
    let named = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
    };
    let headers: HeaderMap = headers.iter().map(named).collect();
    Rejection::read(status, &headers, body, NOW)
}

fn kind(status: u16, body: &Value) -> Kind {
    read(status, &[], body.to_string().as_bytes()).kind
}

#[test]
fn public_errors_have_the_right_disposition() {
    let cases = lines("error_bodies_public.jsonl");
    for case in &cases {
        let status = u16::try_from(case["status"].as_u64().expect("a status")).expect("a status");
        let rejection = read(status, &[], case["body"].to_string().as_bytes());
        let is_retried = matches!(rejection.disposition(), Disposition::Retry { .. });
        assert_eq!(is_retried, case["retry"].as_bool().expect("a verdict"), "{rejection:?}");
        assert!(!rejection.message.contains("no explanation"), "{rejection:?}");
    }
    println!("{} errors", cases.len());
}

#[test]
fn recorded_errors_are_classified_by_status_and_code() {
    let cases = lines("recorded_errors.jsonl");
    for case in &cases {
        let status = u16::try_from(case["status"].as_u64().expect("a status")).expect("a status");
        let body = match &case["response"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let rejection = read(status, &[], body.as_bytes());
        let is_unknown = body.contains("model_not_found");
        let expected = match status {
            404 => Kind::NotFound,
            400 if is_unknown => Kind::NotFound,
            400 => Kind::BadRequest,
            429 => Kind::RateLimited,
            other => panic!("no such status is recorded: {other}"),
        };
        assert_eq!(rejection.kind, expected, "{rejection:?}");
        let is_retried = matches!(rejection.disposition(), Disposition::Retry { .. });
        assert_eq!(is_retried, status == 429, "{rejection:?}");
        assert!(!rejection.message.contains("no explanation"), "{rejection:?}");
    }
    println!("{} errors", cases.len());
}

#[test]
fn every_format_of_body_is_parsed() {
    let say = |message: &str| json!({"error": {"message": message, "code": 429}});
    let direct = say("Slow down. Please try again in 1m2s.");
    let forms = [
        direct.clone(),
        json!([direct]),
        json!({"error": {"message": direct.to_string()}}),
        json!({"error": {"message": "Provider returned error", "metadata": {"raw": direct.to_string()}}}),
        json!({"error": "Slow down. Please try again in 1m2s."}),
        json!({"detail": "Slow down. Please try again in 1m2s."}),
        json!({"message": "Slow down. Please try again in 1m2s."}),
    ];
    for form in &forms {
        let rejection = read(429, &[], form.to_string().as_bytes());
        assert_eq!(rejection.kind, Kind::RateLimited, "{form}");
        assert_eq!(rejection.wait, Some(Duration::from_secs(62)), "{form}");
        assert!(rejection.message.contains("Slow down."), "{form}: {}", rejection.message);
    }
    let page = read(502, &[], b"<html>\n<head><title>502 Bad Gateway</title></head>\n</html>");
    assert_eq!((page.kind, page.wait), (Kind::ServerError, None));
    assert!(page.message.contains("502 Bad Gateway"));
    let nothing = read(503, &[], b"");
    assert_eq!(nothing.kind, Kind::Overloaded);
    assert_eq!(nothing.message, "no explanation (Service Unavailable)");
    assert_eq!(read(500, &[], &[0xff, 0xfe]).kind, Kind::ServerError, "no text at all");
    assert_eq!(read(400, &[], b"{\"error\":").kind, Kind::BadRequest, "half of one");
}

#[test]
fn kinds_follow_from_messages() {
    let error = |kind: &str, code: &str, message: &str| json!({"error": {"message": message, "type": kind, "code": code}});
    for code in [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    ] {
        assert_eq!(kind(429, &error("insufficient_quota", code, "no")), Kind::QuotaExhausted, "{code}");
        assert_eq!(kind(429, &error("requests", code, "Please try again in 1s")), Kind::QuotaExhausted);
    }
    let low = "Your credit balance is too low to access the Anthropic API.";
    assert_eq!(kind(400, &error("invalid_request_error", "", low)), Kind::QuotaExhausted);
    assert_eq!(kind(402, &error("", "", "Insufficient Balance")), Kind::QuotaExhausted);

    let filter = json!({"error": {"message": "…triggering Azure OpenAI's content management policy…", "code":
        "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
    assert_eq!(kind(400, &filter), Kind::ContentRefused);
    let long = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000.";
    assert_eq!(
        kind(400, &error("invalid_request_error", "context_length_exceeded", long)),
        Kind::ContextTooLong
    );
    assert_eq!(kind(400, &error("invalid_request_error", "", long)), Kind::ContextTooLong);
    let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "prompt is too long: 210000 tokens > 200000 maximum"}});
    assert_eq!(kind(400, &anthropic), Kind::ContextTooLong);
    let large =
        json!({"type": "error", "error": {"type": "request_too_large", "message": "Request too large"}});
    assert_eq!(kind(413, &large), Kind::RequestTooLarge);
    for (status, expected) in [
        (400, Kind::BadRequest),
        (401, Kind::Unauthorized),
        (403, Kind::Forbidden),
        (404, Kind::NotFound),
        (408, Kind::Timeout),
        (422, Kind::BadRequest),
        (429, Kind::RateLimited),
        (500, Kind::ServerError),
        (501, Kind::BadRequest),
        (502, Kind::ServerError),
        (503, Kind::Overloaded),
        (504, Kind::ServerError),
        (524, Kind::ServerError),
        (529, Kind::Overloaded),
    ] {
        assert_eq!(kind(status, &json!({})), expected, "{status}");
    }
}

#[test]
fn google_quota_is_retried_if_it_is_per_minute() {
    let quota = |id: &str, delay: Option<&str>| {
        let violation = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaMetric": "…/generate_content_free_tier_requests", "quotaId": id}]});
        let delay = delay
            .map(|delay| json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
        let details: Vec<Value> = [violation].into_iter().chain(delay).collect();
        let message = "You exceeded your current quota, please check your plan and billing details.";
        let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message,
            "details": details}});
        read(429, &[], body.to_string().as_bytes()).disposition()
    };
    let minute = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
    let after = Some(Duration::from_secs(21));
    assert_eq!(quota(minute, Some("21s")), Disposition::Retry { after });
    assert_eq!(quota(minute, None), Disposition::Stop(Kind::QuotaExhausted));
    let day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
    assert_eq!(quota(day, Some("21s")), Disposition::Stop(Kind::QuotaExhausted));
}

#[test]
fn should_retry_header_takes_precedence() {
    assert_eq!(read(429, &[("x-should-retry", "false")], b"{}").kind, Kind::QuotaExhausted);
    assert_eq!(read(409, &[("x-should-retry", "true")], b"{}").kind, Kind::ServerError);
    assert_eq!(read(401, &[("x-should-retry", "true")], b"{}").kind, Kind::Unauthorized);
}

#[test]
fn errors_name_the_address_and_the_problem() {
    let body = br#"{"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}}"#;
    let error = Error::Rejected { address: "https://api.example/v1".into(), rejection: read(404, &[], body) };
    expect!["https://api.example/v1 answered with status 404: The model `gpt-9` does not exist"]
        .assert_eq(&error.to_string());
    let long = json!({"error": {"message": "x".repeat(10_000)}}).to_string();
    assert!(read(400, &[], long.as_bytes()).message.len() < 1000);
}
