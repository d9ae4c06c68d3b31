//! Requests to each provider, and incomplete or invalid responses.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use judge::provider::{
    Content, Disposition, Error, Kind, Provider, ProviderConfig, Request, Transport, Wire,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpRequest, HttpStub};

const OPENAI: &str = r#"{"id": "chatcmpl-1", "model": "m", "choices": [{"finish_reason": "stop",
    "message": {"content": " 8\n"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}"#;

fn key() -> Option<SecretString> {
    Some("sk-secret-key".to_owned().into())
}

fn full_request() -> Request {
    Request {
        system: Some("Be fair.".into()),
        prompt: "Rate it.".into(),
        temperature: Some(0.5),
        max_tokens: Some(64),
        seed: Some(7),
        json_schema: Some(json!({"type": "object"})),
    }
}

/// The request that is sent in the format `wire`, with `base_path` at the end of the base URL.
async fn sent(
    wire: Wire,
    base_path: &str,
    transport: Transport,
    model: &str,
    request: &Request,
) -> HttpRequest {
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    let stub = HttpStub::start(move |request| {
        *keep.lock().expect("no panic") = Some(request.clone());
        Some(HttpAnswer::json(500, "{}"))
    });
    let mut config = ProviderConfig::new("p", wire, &format!("{}{base_path}", stub.url()), key());
    config.transport = transport;
    let outcome = Provider::new(config).expect("it is set up").complete(model, request).await;
    outcome.expect_err("the stub fails");
    seen.lock().expect("no panic").take().expect("a request came")
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// The result of one response.
async fn answered(wire: Wire, answer: Option<HttpAnswer>) -> Result<judge::provider::Completion, Error> {
    let stub = HttpStub::start(move |_| answer.clone());
    let config = ProviderConfig::new("p", wire, &stub.url(), key());
    Provider::new(config).expect("it is set up").complete("m", &Request::new("…")).await
}

async fn content(wire: Wire, body: &Value) -> Content {
    let completion = answered(wire, Some(HttpAnswer::json(200, &body.to_string()))).await;
    completion.unwrap_or_else(|error| panic!("{error:?}: {body}")).content
}

#[tokio::test]
async fn openai_gets_chat_completions() {
    let request = sent(Wire::OpenAi, "/v1/", Transport::Whole, "gpt-4o", &full_request()).await;
    assert_eq!((&request.method[..], &request.path[..]), ("POST", "/v1/chat/completions"));
    assert_eq!(request.header("authorization"), Some("Bearer sk-secret-key"));
    let expected = json!({
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "Rate it."}],
        "temperature": 0.5, "max_tokens": 64, "seed": 7,
        "response_format": {"type": "json_schema",
            "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}},
    });
    assert_eq!(body(&request), expected);
    let request = sent(Wire::OpenAi, "", Transport::Streamed, "o3-mini", &full_request()).await;
    let sent = body(&request);
    assert_eq!((&sent["max_completion_tokens"], &sent["max_tokens"]), (&json!(64), &Value::Null));
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn azure_gets_its_deployment_version_and_header() {
    let base = "/openai/deployments/gpt-4o?api-version=2024-10-21";
    let request = sent(Wire::AzureOpenAi, base, Transport::Whole, "gpt-4o", &Request::new("…")).await;
    assert_eq!(request.path, "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21");
    assert_eq!(request.header("api-key"), Some("sk-secret-key"));
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn anthropic_gets_messages() {
    let request = sent(Wire::Anthropic, "", Transport::Whole, "claude-x", &full_request()).await;
    assert_eq!(request.path, "/v1/messages");
    assert_eq!(request.header("x-api-key"), Some("sk-secret-key"));
    assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
    let expected = json!({
        "model": "claude-x", "max_tokens": 64, "system": "Be fair.", "temperature": 0.5,
        "messages": [{"role": "user", "content": "Rate it."}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    });
    assert_eq!(body(&request), expected);
    let request = sent(Wire::Anthropic, "", Transport::Streamed, "claude-x", &Request::new("…")).await;
    assert_eq!((&body(&request)["max_tokens"], &body(&request)["stream"]), (&json!(4096), &json!(true)));
}

#[tokio::test]
async fn gemini_gets_contents() {
    let request = sent(Wire::Gemini, "/v1beta", Transport::Whole, "models/gemini-x", &full_request()).await;
    assert_eq!(request.path, "/v1beta/models/gemini-x:generateContent");
    assert_eq!(request.header("x-goog-api-key"), Some("sk-secret-key"));
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "Rate it."}]}],
        "systemInstruction": {"parts": [{"text": "Be fair."}]},
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 64, "seed": 7,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
    });
    assert_eq!(body(&request), expected);
    let request = sent(Wire::Gemini, "", Transport::Streamed, "gemini-x", &Request::new("…")).await;
    assert_eq!(request.path, "/models/gemini-x:streamGenerateContent?alt=sse");
}

#[tokio::test]
async fn texts_are_unchanged() {
    let completion = answered(Wire::OpenAi, Some(HttpAnswer::json(200, OPENAI))).await.expect("an answer");
    assert_eq!(completion.text(), Some(" 8\n"));
    assert!(completion.latency > Duration::ZERO);
}

#[tokio::test]
async fn incomplete_answers_are_not_texts() {
    let openai =
        |reason: &str, message: Value| json!({"choices": [{"finish_reason": reason, "message": message}]});
    let text = || json!({"content": "Well,"});
    assert_eq!(content(Wire::OpenAi, &openai("length", text())).await, Content::Truncated("Well,".into()));
    // An answer with an unknown finish reason is an answer, and paid for.
    for reason in ["whatever", "unknown", "other", "FINISH_REASON_STOP", "stop ", "stop_str"] {
        assert_eq!(content(Wire::OpenAi, &openai(reason, text())).await, Content::Text("Well,".into()));
    }
    for reason in ["MAX_TOKENS", "model_length", "token_limit"] {
        assert_eq!(content(Wire::OpenAi, &openai(reason, text())).await, Content::Truncated("Well,".into()));
    }
    assert_eq!(content(Wire::OpenAi, &openai("whatever", json!({"content": ""}))).await, Content::Empty);
    let filtered = content(Wire::OpenAi, &openai("content_filter", text())).await;
    assert_eq!(filtered, Content::Filtered("content_filter".into()));
    let refusal = json!({"content": null, "refusal": "I can't."});
    assert_eq!(content(Wire::OpenAi, &openai("stop", refusal)).await, Content::Refused("I can't.".into()));
    for empty in [json!({"content": ""}), json!({"content": null}), json!({"content": " \n"}), json!({})] {
        assert_eq!(content(Wire::OpenAi, &openai("stop", empty)).await, Content::Empty);
    }
    let anthropic = |reason: &str, text: &str| {
        json!({"content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": text}],
            "stop_reason": reason})
    };
    assert_eq!(content(Wire::Anthropic, &anthropic("end_turn", "8")).await, Content::Text("8".into()));
    assert_eq!(content(Wire::Anthropic, &anthropic("max_tokens", "8")).await, Content::Truncated("8".into()));
    assert_eq!(content(Wire::Anthropic, &anthropic("refusal", "no")).await, Content::Refused("no".into()));
    assert_eq!(content(Wire::Anthropic, &anthropic("end_turn", "")).await, Content::Empty);
    let gemini = |reason: &str| json!({"candidates": [{"finishReason": reason, "content": {"parts": [{"text": "8"}]}}]});
    assert_eq!(content(Wire::Gemini, &gemini("STOP")).await, Content::Text("8".into()));
    assert_eq!(content(Wire::Gemini, &gemini("MAX_TOKENS")).await, Content::Truncated("8".into()));
    assert_eq!(content(Wire::Gemini, &gemini("SAFETY")).await, Content::Filtered("SAFETY".into()));
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}});
    assert_eq!(content(Wire::Gemini, &blocked).await, Content::Filtered("PROHIBITED_CONTENT".into()));
}

#[tokio::test]
async fn failures_with_status_200_are_failures() {
    let kind = async |wire, body: &str| {
        answered(wire, Some(HttpAnswer::json(200, body))).await.expect_err(body).kind()
    };
    let overloaded = r#"{"error": {"message": "Upstream overloaded", "code": 502}}"#;
    assert_eq!(kind(Wire::OpenAi, overloaded).await, Kind::ServerError);
    let choice =
        r#"{"choices": [{"error": {"code": 429, "message": "slow down"}, "finish_reason": "error"}]}"#;
    assert_eq!(kind(Wire::OpenAi, choice).await, Kind::RateLimited);
    let event = "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {}}\n\nevent: error\n\
        data: {\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\", \"message\": \"Overloaded\"}}\n\n";
    assert_eq!(kind(Wire::Anthropic, event).await, Kind::Overloaded);
    let quota = r#"{"error": {"message": "no", "type": "insufficient_quota", "code": "insufficient_quota"}}"#;
    assert_eq!(kind(Wire::OpenAi, quota).await, Kind::QuotaExhausted);
    assert_eq!(kind(Wire::OpenAi, &OPENAI[..60]).await, Kind::Connection, "half an answer");
    assert_eq!(kind(Wire::OpenAi, "").await, Kind::Connection);
    assert_eq!(kind(Wire::OpenAi, r#"{"choices": []}"#).await, Kind::Malformed);
    assert_eq!(kind(Wire::OpenAi, "[]").await, Kind::Connection);
    assert_eq!(kind(Wire::OpenAi, "ok").await, Kind::Malformed);
    let no_reason = r#"{"choices": [{"finish_reason": null, "message": {"content": ""}}]}"#;
    assert_eq!(kind(Wire::OpenAi, no_reason).await, Kind::Malformed);
    let cut = "data: {\"choices\": [{\"delta\": {\"content\": \"8\"}}]}\n\n";
    assert_eq!(kind(Wire::OpenAi, cut).await, Kind::Connection, "a stream without its end");
    let broken = "data: {\"choices\": [{\"delta\n\ndata: [DONE]\n\n";
    assert_eq!(kind(Wire::OpenAi, broken).await, Kind::Malformed);
    let page = answered(Wire::OpenAi, Some(HttpAnswer::json(200, "<!doctype html>"))).await;
    let page = page.expect_err("a page");
    assert_eq!(page.disposition(), Disposition::Stop(Kind::NotFound), "{page}");
}

#[tokio::test]
async fn failed_connections_are_transient() {
    let error = answered(Wire::OpenAi, None).await.expect_err("no answer");
    assert_eq!((error.kind(), error.disposition()), (Kind::Connection, Disposition::Retry { after: None }));
    let gone = HttpStub::start(|_| None).url();
    let provider = Provider::new(ProviderConfig::new("p", Wire::OpenAi, &gone, None)).expect("it is set up");
    let error = provider.complete("m", &Request::new("…")).await.expect_err("nobody is there");
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.to_string().starts_with("failed to connect to http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn silent_server_times_out() {
    // The server is silent until the end of the test.
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let stub = HttpStub::start(move |_| {
        let _ = held.lock().expect("no panic").recv();
        None
    });
    let mut config = ProviderConfig::new("p", Wire::OpenAi, &stub.url(), None);
    config.silence_timeout = Duration::from_millis(50);
    let provider = Provider::new(config).expect("it is set up");
    let error = provider.complete("m", &Request::new("…")).await.expect_err("silence");
    assert_eq!((error.kind(), error.disposition()), (Kind::Timeout, Disposition::Retry { after: None }));
    drop(release);
}

#[tokio::test]
async fn keys_are_never_shown() {
    let echo = json!({"error": {"message": "Incorrect API key provided: sk-secret-key."}}).to_string();
    let error = answered(Wire::OpenAi, Some(HttpAnswer::json(401, &echo))).await.expect_err("401");
    assert_eq!(error.kind(), Kind::Unauthorized);
    let echoed = answered(Wire::OpenAi, Some(HttpAnswer::json(200, "who is sk-secret-key?"))).await;
    let echoed = echoed.expect_err("no JSON");
    let provider = |url, key| Provider::new(ProviderConfig::new("p", Wire::OpenAi, url, key));
    let unreachable = provider("http://u:pass@localhost:1", None).expect("it is set up");
    let unreachable = unreachable.complete("m", &Request::new("…")).await.expect_err("nobody is there");
    let provider = provider("http://localhost:1", key()).expect("it is set up");
    for text in [format!("{error} {error:?}"), format!("{echoed} {echoed:?}"), format!("{provider:?}")] {
        assert!(!text.contains("sk-secret-key"), "{text}");
    }
    assert!(!format!("{unreachable} {unreachable:?}").contains("pass"), "{unreachable:?}");
}

#[test]
fn setup_errors_name_the_problem() {
    let setup = |url: &str, key: Option<SecretString>| {
        let error = Provider::new(ProviderConfig::new("mine", Wire::OpenAi, url, key)).expect_err(url);
        assert_eq!(error.disposition(), Disposition::Stop(Kind::Setup));
        error.to_string()
    };
    let url = "provider `mine` cannot be set up: its base URL must begin with http:// or https://";
    assert_eq!(setup("localhost:8000", None), url);
    assert!(setup("not a URL", None).ends_with("its base URL is invalid"));
    assert!(
        setup("http://x", Some("a\nb".to_owned().into()))
            .ends_with("its key contains characters that are invalid in an HTTP header")
    );
}
