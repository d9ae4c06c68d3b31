//! Servers that reject a parameter get the request without it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use judge::{
    provider::{
        Error, Kind, Parameter, Provider, ProviderConfig, Rejection, Request, Transport, Wire,
        limits::{Backoff, Budget, CallError, Caller, Gates},
    },
    registry::Model,
};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpStub, shared_lines as lines};
use time::macros::datetime;

use Parameter::{JsonSchema, MaxCompletionTokens, MaxTokens, Seed, Stream, StreamUsage, System, Temperature};

const OPENAI: &str =
    r#"{"choices": [{"finish_reason": "stop", "message": {"content": "8"}}], "usage": {"prompt_tokens": 9}}"#;
const ANTHROPIC: &str = r#"{"content": [{"type": "text", "text": "8"}], "stop_reason": "end_turn"}"#;
const GEMINI: &str = r#"{"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "8"}]}}]}"#;

/// A request with all fields.
fn full() -> Request {
    Request {
        system: Some("Be fair.".into()),
        temperature: Some(0.0),
        max_tokens: Some(64),
        seed: Some(7),
        json_schema: Some(json!({"type": "object"})),
        ..Request::new("Rate it.")
    }
}

/// A server that returns the error that `refuses` gives for a body, if any; and all received bodies.
fn server(
    answer: &'static str,
    refuses: impl Fn(&Value) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> (HttpStub, Arc<Mutex<Vec<Value>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let stub = HttpStub::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        seen.lock().expect("no panic").push(body.clone());
        Some(match refuses(&body) {
            Some((status, error)) => HttpAnswer::json(status, &error.to_string()),
            None => HttpAnswer::json(200, answer),
        })
    });
    (stub, bodies)
}

fn caller(stub: &HttpStub, wire: Wire, transport: Transport) -> Caller {
    let mut config = ProviderConfig::new("p", wire, &stub.url(), None);
    config.transport = transport;
    let gates = Gates::new(8.try_into().expect("not zero"));
    let no_retries = Backoff { max_retries: 0, first: Duration::from_millis(1), ..Backoff::default() };
    Caller::new(Provider::new(config).expect("it is set up"), gates, no_retries)
}

async fn call(caller: &Caller, model: &str, request: &Request) -> Result<String, Error> {
    let call = caller.call(&Model::unknown(model, "p"), request, &Budget::unlimited(), &mut ()).await;
    match call {
        Ok(completion) => Ok(completion.text().expect("a text").to_owned()),
        Err(CallError::Provider { source, .. }) => Err(source),
        Err(other) => panic!("{other:?}"),
    }
}

fn unsupported(name: &str) -> (u16, Value) {
    let message = format!("Unsupported value: '{name}' does not support 0.0 with this model.");
    (400, json!({"error": {"message": message, "param": name, "code": "unsupported_value"}}))
}

#[tokio::test]
async fn rejected_parameters_are_omitted_from_then_on() {
    for (wire, answer, names) in [
        (Wire::OpenAi, OPENAI, ["/temperature", "/seed", "/response_format", "/max_tokens"]),
        (
            Wire::Gemini,
            GEMINI,
            [
                "/generationConfig/temperature",
                "/generationConfig/seed",
                "/generationConfig/responseJsonSchema",
                "/generationConfig/maxOutputTokens",
            ],
        ),
        (Wire::Anthropic, ANTHROPIC, ["/temperature", "/temperature", "/output_config", "/temperature"]),
    ] {
        for path in names {
            let refuses = move |body: &Value| {
                body.pointer(path).map(|_| unsupported(path.rsplit('/').next().expect("a name")))
            };
            let (stub, bodies) = server(answer, refuses);
            let caller = caller(&stub, wire, Transport::Whole);
            for _ in 0..2 {
                assert_eq!(call(&caller, "vendor/any-name", &full()).await.expect(path), "8");
            }
            let bodies = bodies.lock().expect("no panic");
            let has: Vec<bool> = bodies.iter().map(|body| body.pointer(path).is_some()).collect();
            assert_eq!(has, [true, false, false], "{wire:?} {path}");
        }
    }
}

#[tokio::test]
async fn token_limit_has_two_names() {
    for (model, refused, other) in
        [("m", "max_tokens", "max_completion_tokens"), ("o3-mini", "max_completion_tokens", "max_tokens")]
    {
        let message = format!(
            "Unsupported parameter: '{refused}' is not supported with this model. Use '{other}' instead."
        );
        let refuses =
            move |body: &Value| body.get(refused).map(|_| (400, json!({"error": {"message": message}})));
        let (stub, bodies) = server(OPENAI, refuses);
        let caller = caller(&stub, Wire::OpenAi, Transport::Whole);
        for _ in 0..2 {
            call(&caller, model, &full()).await.expect("an answer");
        }
        let bodies = bodies.lock().expect("no panic");
        let sent: Vec<_> = bodies.iter().map(|body| (body.get(refused), body.get(other))).collect();
        let limit = json!(64);
        assert_eq!(sent, [(Some(&limit), None), (None, Some(&limit)), (None, Some(&limit))]);
    }
}

#[tokio::test]
async fn several_rejected_parameters_are_omitted_one_by_one() {
    let order = ["max_tokens", "temperature", "seed", "response_format", "stream_options", "stream"];
    let refuses = move |body: &Value| {
        if body["messages"][0]["role"] == "system" {
            let message = "Unsupported value: 'messages[0].role' does not support 'system' with this model.";
            return Some((400, json!({"error": {"message": message, "param": "messages[0].role"}})));
        }
        let found = order.into_iter().find(|name| body.get(name).is_some());
        found.map(|name| {
            (
                422,
                json!({"detail": [{"type": "extra_forbidden", "loc": ["body", name],
            "msg": "Extra inputs are not permitted", "input": 7}]}),
            )
        })
    };
    let (stub, bodies) = server(OPENAI, refuses);
    let caller = caller(&stub, Wire::OpenAi, Transport::Streamed);
    assert_eq!(call(&caller, "m", &full()).await.expect("an answer"), "8");
    let messages = json!([{"role": "user", "content": "Be fair.\n\nRate it."}]);
    assert_eq!(bodies.lock().expect("no panic").last(), Some(&json!({"model": "m", "messages": messages})));
    let sent = bodies.lock().expect("no panic").len();
    assert_eq!(sent, 8, "system, then six in turn; the other name of the limit goes with the temperature");
    call(&caller, "m", &full()).await.expect("an answer");
    assert_eq!(bodies.lock().expect("no panic").len(), sent + 1, "all of it is remembered");
}

#[tokio::test]
async fn persistent_rejection_ends_the_call_and_is_not_remembered() {
    // The server rejects every request.
    let (stub, bodies) = server(OPENAI, |_| Some(unsupported("temperature")));
    let caller = caller(&stub, Wire::OpenAi, Transport::Whole);
    for _ in 0..2 {
        let error = call(&caller, "m", &full()).await.expect_err("it refuses");
        assert_eq!(error.kind(), Kind::BadRequest);
    }
    let bodies = bodies.lock().expect("no panic");
    let has: Vec<bool> = bodies.iter().map(|body| body.get("temperature").is_some()).collect();
    assert_eq!(has, [true, false, true, false]);
}

#[tokio::test]
async fn temperature_that_is_too_high_is_not_a_rejection() {
    let (stub, bodies) = server(OPENAI, |_| {
        let message =
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 1, but got 2 instead.";
        let code = "decimal_above_max_value";
        Some((400, json!({"error": {"message": message, "param": "temperature", "code": code}})))
    });
    let caller = caller(&stub, Wire::OpenAi, Transport::Whole);
    let request = Request { temperature: Some(2.0), ..Request::new("…") };
    call(&caller, "m", &request).await.expect_err("it is wrong");
    assert_eq!(bodies.lock().expect("no panic").len(), 1);
}

fn refuses(status: u16, body: &Value) -> Vec<Parameter> {
    let now = datetime!(2026-01-31 12:00:00 UTC);
    Rejection::read(status, &HeaderMap::new(), body.to_string().as_bytes(), now).refuses
}

/// Public reports about other tools, each with the rejected parameters.
#[test]
fn rejections_are_recognized_for_every_server() {
    let cases = [
        (
            Temperature,
            json!({"error": {"message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"}}),
        ),
        (
            Temperature,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."}}),
        ),
        (
            Temperature,
            json!({"error": {"message": "invalid temperature: only 1 is allowed for this model", "type": "invalid_request_error"}}),
        ),
        (
            Temperature,
            json!({"error": {"message": "litellm.UnsupportedParamsError: gpt-5 models (including gpt-5-codex) don't support temperature=0.0. Only temperature=1 is supported. To drop unsupported params set `litellm.drop_params = True`", "type": null, "param": null, "code": "400"}}),
        ),
        (
            Temperature,
            json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "{\"error\": {\"message\": \"Unsupported parameter: 'temperature' is not supported with this model.\"}}"}}}),
        ),
        (
            Temperature,
            json!({"message": "Malformed input request: extraneous key [temperature] is not permitted, please reformat your input and try again."}),
        ),
        (
            Temperature,
            json!({"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}),
        ),
        (Temperature, json!({"temperature": ["This field is not supported."]})),
        (
            MaxTokens,
            json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}}),
        ),
        (
            MaxTokens,
            json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "code": "invalid_request_body"}}),
        ),
        (
            MaxCompletionTokens,
            json!({"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted", "input": 32000}]}, "type": "invalid_request_error", "param": null, "code": null}),
        ),
        (
            MaxCompletionTokens,
            json!({"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 64}]", "type": "BadRequestError", "param": null, "code": 400}),
        ),
        (
            JsonSchema,
            json!({"error": {"message": "This response_format type is unavailable now", "type": "invalid_request_error", "param": null, "code": "invalid_request_error"}}),
        ),
        (
            JsonSchema,
            json!({"error": {"message": "Failed to deserialize the JSON body into the target type: response_format: response_format.type `json_schema` is unavailable now at line 1 column 1193"}}),
        ),
        (
            JsonSchema,
            json!({"error": {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model", "type": "invalid_request_error"}}),
        ),
        (
            JsonSchema,
            json!({"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"responseJsonSchema\" at 'generation_config': Cannot find field.", "status": "INVALID_ARGUMENT"}}),
        ),
        (
            JsonSchema,
            json!({"error": {"code": 400, "message": "JSON mode is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}),
        ),
        (
            Seed,
            json!({"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"seed\": Cannot find field.", "status": "INVALID_ARGUMENT"}}),
        ),
        (
            Stream,
            json!({"error": {"message": "Your organization must be verified to stream this model.", "type": "invalid_request_error", "param": "stream", "code": "unsupported_value"}}),
        ),
        (
            StreamUsage,
            json!({"error": {"message": "Unrecognized request argument supplied: stream_options", "type": "invalid_request_error", "param": null, "code": null}}),
        ),
        (
            System,
            json!({"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}),
        ),
        (
            System,
            json!({"error": {"code": "unsupported_value", "message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.", "param": "messages[0].role", "type": "invalid_request_error"}}),
        ),
    ];
    for (parameter, body) in &cases {
        for status in [400, 422] {
            assert_eq!(refuses(status, body).first(), Some(parameter), "{body}");
        }
        for status in [401, 429] {
            assert_eq!(refuses(status, body), [], "{status} {body}");
        }
    }
}

/// Phrases that are in no report about another tool.
#[test]
fn rejections_are_recognized_in_other_phrases() {
    let verdict = [
        "temperature: Input should be greater than or equal to 1",
        "You cannot set temperature for reasoning models.",
        "Parameter temperature is invalid for model x: this model uses fixed sampling.",
        "temperature has been removed for this model",
        "temperature is disabled for this model",
        "Parameter 'temperature' is disallowed.",
        "Forbidden parameter: temperature",
        "illegal parameter temperature",
        "Parameter temperature does not exist",
        "temperature is fixed at 1.0 for this model",
        "No support for temperature",
        "Model lacks support for the 'temperature' parameter",
        "unable to set temperature on this model",
        "该模型不支持 temperature 参数",
    ];
    let keyed = ["error_message", "errorMessage", "Message", "error_msg", "description"];
    let bodies = verdict.iter().map(|verdict| json!({"error": {"message": verdict}}));
    let keyed = keyed.iter().map(|key| json!({*key: "temperature is not supported"}));
    let named = ["property", "invalid_params", "target"]
        .iter()
        .map(|key| json!({"error": {*key: ["temperature"], "message": "unsupported parameter"}}));
    for body in bodies.chain(keyed).chain(named) {
        assert_eq!(refuses(400, &body), [Temperature], "{body}");
    }
    let alternate = "Conversation roles must alternate user/assistant/user/assistant/...";
    assert_eq!(refuses(400, &json!({"message": alternate})), [System]);
}

/// A problem with a parameter can be described in any way; its name suffices.
#[test]
fn invalid_request_that_names_a_parameter_is_a_rejection() {
    let verdict = [
        "Invalid parameter: temperature",
        "temperature is not a valid parameter for this model",
        "Invalid value for 'temperature': expected 1, got 0",
        "Parameter 'temperature' is invalid",
        "Invalid temperature",
        "no such parameter: temperature",
        "Property temperature is not defined",
        "temperature must equal 1",
        "temperature: Input should be 1",
        "temperature should be 1 or unset",
        "Temperature: expected exactly 1",
        "o3-mini requires temperature=1",
        "This model only works with temperature=1",
        "temperature: value 0.0 is out of range (0.01..1)",
        "temperature must be > 0",
        "temperature must be > 0 and <= 2",
        "The parameter temperature isn't available with this model",
        "Setting temperature is not possible",
        "Please remove temperature from your request",
        "temperature is immutable for this deployment",
        "For this model, temperature must be left unset",
        "模型不支持temperature参数",
        "temperature를 지원하지 않습니다",
        "このモデルではtemperatureは指定できません",
        "Модель не принимает параметр temperature",
        "Der Parameter „temperature“ wird von diesem Modell nicht unterstützt",
        "Temperatur ist hier fest eingestellt",
        "Le paramètre « temperature » n'est pas pris en charge",
        "La température est fixe",
    ];
    let bodies = verdict.iter().flat_map(|verdict| [json!({"error": {"message": verdict}}), json!(verdict)]);
    let by_field = [
        json!({"error": {"message": "Invalid request", "param": "temperature"}}),
        json!({"temperature": ["This field is not expected."]}),
        json!({"errors": {"temperature": {"code": "x"}}}),
        json!({"errors": [{"path": "/temperature", "message": "not expected"}]}),
        json!({"errors": [{"source": {"pointer": "/data/temperature"}, "title": "Bad"}]}),
        json!({"errors": ["bad temperature"]}),
        json!({"detail": [{"loc": ["body", "temperature"], "msg": "wrong"}]}),
        json!({"invalid-params": [{"name": "temperature", "reason": "wrong"}]}),
        json!({"errors": [{"instancePath": "/temperature", "keyword": "const"}]}),
        json!({"error": {"details": [{"fieldViolations": [{"field": "generation_config.temperature"}]}]}}),
        json!({"error": {"key": "temperature"}}),
    ];
    for body in bodies.chain(by_field) {
        for status in [400, 422] {
            assert_eq!(refuses(status, &body), [Temperature], "{body}");
        }
        for status in [401, 429, 503] {
            assert_eq!(refuses(status, &body), [], "{status} {body}");
        }
    }
    let renamed = json!({"error": "Invalid parameter: max_tokens. Please use max_completion_tokens"});
    assert_eq!(refuses(400, &renamed), [MaxTokens, MaxCompletionTokens]);
    let other_names = ["temperature_scale is wrong", "hightemperature", "xtemperature2"];
    for verdict in other_names {
        assert_eq!(refuses(400, &json!({"error": {"message": verdict}})), [], "{verdict}");
    }
}

/// If a server or a model may not be used at all, the name of a parameter does not suffice.
#[test]
fn forbidden_or_missing_is_a_rejection_only_if_explicit() {
    let error = |message: &str| json!({"error": {"message": message}});
    for status in [403, 404] {
        assert_eq!(refuses(status, &error("Unsupported value: temperature")), [Temperature]);
        assert_eq!(refuses(status, &error("No model for temperature 0")), []);
    }
}

#[tokio::test]
async fn error_that_persists_is_reported_as_the_first_one() {
    let (stub, bodies) = server(OPENAI, |body| {
        let message = match body.get("temperature") {
            Some(_) => "Invalid request: temperature or user",
            None => "Invalid request: user",
        };
        Some((400, json!({"error": {"message": message}})))
    });
    let caller = caller(&stub, Wire::OpenAi, Transport::Whole);
    for _ in 0..2 {
        let error = call(&caller, "m", &full()).await.expect_err("it is wrong").to_string();
        assert!(error.ends_with("temperature or user"), "{error}");
    }
    let bodies = bodies.lock().expect("no panic");
    let has: Vec<bool> = bodies.iter().map(|body| body.get("temperature").is_some()).collect();
    assert_eq!(has, [true, false, true, false]);
}

#[tokio::test]
async fn other_errors_are_not_retried_without_parameters() {
    for (status, verdict, code) in [
        (
            400,
            "This model's maximum context length is 8192 tokens; temperature 0.",
            "context_length_exceeded",
        ),
        (400, "The model `m` does not exist (temperature 0)", "model_not_found"),
        (401, "Incorrect API key, temperature", "invalid_api_key"),
        (402, "Pay for temperature", "billing_error"),
        (400, "The prompt is wrong", ""),
    ] {
        let (stub, bodies) =
            server(OPENAI, move |_| Some((status, json!({"error": {"message": verdict, "code": code}}))));
        let caller = caller(&stub, Wire::OpenAi, Transport::Whole);
        call(&caller, "m", &full()).await.expect_err("it is wrong");
        assert_eq!(bodies.lock().expect("no panic").len(), 1, "{verdict}");
    }
}

/// Without its limit, the answer could have any length.
#[test]
fn limit_that_is_too_high_is_not_a_rejection() {
    for verdict in [
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens.",
        "This model only supports 4096 output tokens, max_tokens 5000 is not allowed",
        "max_tokens: 8192 > 4096, which is not permitted",
        "max_tokens 8192 exceeds the limit; larger values are not supported",
        "`max_tokens` must be less than 8192; other values are not accepted",
        "Invalid max_tokens: the valid range is [1, 8192]",
        "max_tokens must be between 1 and 4096",
        "max_tokens: value 5000 is out of range (1..4096)",
    ] {
        assert_eq!(
            refuses(400, &json!({"error": {"message": verdict, "param": "max_tokens"}})),
            [],
            "{verdict}"
        );
    }
}

/// Some proxies respond with 500 to unsupported parameters; most such errors are transient.
#[test]
fn server_error_is_a_rejection_only_if_explicit() {
    let error = |message: &str| json!({"error": {"message": message}});
    assert_eq!(refuses(500, &error("UnsupportedParamsError: temperature is not supported")), [Temperature]);
    assert_eq!(refuses(500, &error("failed to compile the grammar in time")), []);
    assert_eq!(refuses(400, &error("failed to parse grammar")), [JsonSchema]);
}

#[test]
fn other_recorded_errors_are_not_rejections() {
    let mut found = Vec::new();
    for case in lines("recorded_errors.jsonl") {
        let status = u16::try_from(case["status"].as_u64().expect("a status")).expect("a status");
        found.extend(
            refuses(status, &case["response"]).into_iter().map(|parameter| (parameter, case.clone())),
        );
    }
    for (parameter, case) in &found {
        let message = case["response"].to_string();
        assert!(*parameter == System && message.contains("messages[0].role"), "{parameter:?}: {message}");
    }
    for case in lines("error_bodies_public.jsonl") {
        let status = u16::try_from(case["status"].as_u64().expect("a status")).expect("a status");
        assert_eq!(refuses(status, &case["body"]), [], "{case}");
    }
}
