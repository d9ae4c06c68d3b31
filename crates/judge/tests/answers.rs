//! Irregular responses, which cost money all the same, in every format of every provider.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use judge::{
    parse::Scale,
    provider::{
        Completion, Content, Error, Kind, Provider, ProviderConfig, Request, Wire,
        limits::{Backoff, Budget, CallError, Caller, Gates},
    },
    registry::Model,
    rubric::{BeyondScale, Score, Verdict},
};
use test_support::{HttpAnswer, HttpStub};

/// The result of a call to a server that always responds with `body`, and the number of requests.
async fn called(wire: Wire, status: u16, body: &str) -> (Result<Completion, Error>, usize) {
    called_in_turn(wire, status, &[body]).await
}

/// The same for a server that responds with each of `bodies` in turn, again and again.
async fn called_in_turn(wire: Wire, status: u16, bodies: &[&str]) -> (Result<Completion, Error>, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let answers: Vec<HttpAnswer> = bodies.iter().map(|body| HttpAnswer::json(status, body)).collect();
    let stub = HttpStub::start(move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        Some(answers[call % answers.len()].clone())
    });
    let provider = Provider::new(ProviderConfig::new("p", wire, &stub.url(), None)).expect("it is set up");
    let gates = Gates::new(8.try_into().expect("not zero"));
    let caller =
        Caller::new(provider, gates, Backoff { first: Duration::from_millis(1), ..Backoff::default() });
    let call =
        caller.call(&Model::unknown("m", "p"), &Request::new("…"), &Budget::unlimited(), &mut ()).await;
    let outcome = call.map_err(|error| match error {
        CallError::Provider { source, .. } => source,
        other => panic!("{other:?}"),
    });
    (outcome, calls.load(Ordering::Relaxed))
}

/// Responses with the text `text` as JSON and the finish reason `reason` as JSON, complete and streamed.
fn answers(text: &str, reason: &str) -> Vec<(Wire, String)> {
    let openai = format!(
        r#"{{"id": "x", "choices": [{{"finish_reason": {reason}, "message": {{"content": "{text}"}}}}]}}"#
    );
    let openai_stream = format!(
        "data: {{\"choices\": [{{\"delta\": {{\"content\": \"{text}\"}}, \"finish_reason\": {reason}}}]}}\n\ndata: [DONE]\n\n"
    );
    let anthropic = format!(
        r#"{{"type": "message", "content": [{{"type": "text", "text": "{text}"}}], "stop_reason": {reason}}}"#
    );
    let anthropic_stream = [
        r#"{"type": "message_start", "message": {"id": "msg_1"}}"#.to_owned(),
        format!(r#"{{"type": "content_block_delta", "delta": {{"type": "text_delta", "text": "{text}"}}}}"#),
        format!(r#"{{"type": "message_delta", "delta": {{"stop_reason": {reason}}}}}"#),
        r#"{"type": "message_stop"}"#.to_owned(),
    ];
    let anthropic_stream: String =
        anthropic_stream.iter().map(|event| format!("event: e\r\ndata: {event}\r\n\r\n")).collect();
    let gemini = format!(
        r#"{{"candidates": [{{"content": {{"parts": [{{"text": "{text}"}}]}}, "finishReason": {reason}}}]}}"#
    );
    vec![
        (Wire::OpenAi, openai),
        (Wire::OpenAi, openai_stream),
        (Wire::Anthropic, anthropic),
        (Wire::Anthropic, anthropic_stream),
        (Wire::Gemini, format!("[{gemini}]")),
        (Wire::Gemini, format!("data: {gemini}\n\ndata: [DONE]\n\n")),
        (Wire::Gemini, gemini),
    ]
}

#[tokio::test]
async fn lone_surrogate_costs_one_call_and_becomes_a_replacement_character() {
    let cases = [
        (r"Paris \ud83d", "Paris \u{fffd}"),
        (r"\uDE00 Paris", "\u{fffd} Paris"),
        (r"Paris \ud83d\ude00", "Paris \u{1f600}"),
        ("Paris\u{1}", "Paris\u{1}"),
    ];
    for (written, expected) in cases {
        for (wire, body) in answers(written, "\"stop\"") {
            let (outcome, calls) = called(wire, 200, &body).await;
            let completion = outcome.unwrap_or_else(|error| panic!("{error:?}: {body}"));
            assert_eq!((completion.text(), calls), (Some(expected), 1), "{body}");
        }
    }
}

#[tokio::test]
async fn byte_order_mark_is_skipped() {
    for (wire, body) in answers("8", "\"stop\"") {
        let (outcome, calls) = called(wire, 200, &format!("\u{feff}{body}")).await;
        assert_eq!((outcome.expect(&body).text(), calls), (Some("8"), 1), "{body}");
    }
}

#[tokio::test]
async fn nothing_beside_an_answer_costs_another_call() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let deep_objects = format!("{}1{}", r#"{"a": "#.repeat(300), "}".repeat(300));
    for (wire, body) in answers("8", "\"stop\"") {
        let mut bodies: Vec<String> = [&deep, &deep_objects]
            .map(|deep| {
                // In the first object, and in the last one.
                let first = body.replacen('{', &format!("{{\"x\": {deep}, "), 1);
                let place = body.rfind('{').expect("an object") + 1;
                [first, format!("{}\"x\": {deep}, {}", &body[..place], &body[place..])]
            })
            .concat();
        if body.starts_with('{') {
            for behind in
                ["\n\n[DONE]", "\n\ndata: [DONE]\n\n", "\0", "}", "\r\n<!-- proxy -->", "\n{\"ok\": true}"]
            {
                bodies.push(format!("{body}{behind}"));
            }
        }
        for body in bodies {
            let (outcome, calls) = called(wire, 200, &body).await;
            let completion = outcome.unwrap_or_else(|error| panic!("{error:?}: {body}"));
            assert_eq!((completion.text(), calls), (Some("8"), 1), "{body}");
        }
    }
    // Parts of an answer are not a complete one.
    let parts = r#"{"choices": [{"text": "1", "finish_reason": null}]}"#.to_owned() + "\n";
    let (outcome, _) = called(Wire::OpenAi, 200, &parts.repeat(2)).await;
    assert_eq!(outcome.expect_err("parts").kind(), Kind::Malformed);
    for body in [
        r#"{"choices": [{"text": "8", "finish_reason": "stop"}]}"#,
        r#"{"choices": [{"text": "8", "finish_reason": null, "message": null}]}"#,
        "data: {\"choices\": [{\"text\": \"8\"}]}\n\ndata: [DONE]\n\n",
    ] {
        let (outcome, calls) = called(Wire::OpenAi, 200, body).await;
        assert_eq!((outcome.expect(body).text(), calls), (Some("8"), 1), "{body}");
    }
}

#[tokio::test]
async fn answer_with_any_or_no_finish_reason_is_complete() {
    for reason in ["null", "\"\"", "\"STOP\"", "\"Stop\"", "\"null\"", "0", "\"whatever\"", "\"OTHER\""] {
        for (wire, body) in answers("8", reason) {
            let (outcome, calls) = called(wire, 200, &body).await;
            let completion = outcome.unwrap_or_else(|error| panic!("{error:?}: {body}"));
            assert_eq!((&completion.content, calls), (&Content::Text("8".into()), 1), "{body}");
        }
    }
    for reason in ["\"LENGTH\"", "\"max_tokens\"", "\"model_length\""] {
        for (wire, body) in answers("8", reason) {
            let (outcome, calls) = called(wire, 200, &body).await;
            assert_eq!((outcome.expect(&body).content, calls), (Content::Truncated("8".into()), 1), "{body}");
        }
    }
    let bare = r#"{"choices": [{"message": {"content": "8"}}]}"#;
    assert_eq!(called(Wire::OpenAi, 200, bare).await.0.expect("an answer").finish_reason, "");
    // A stream that ends without a marker may be truncated.
    let cut = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"8\"}]}}]}\n\n";
    assert_eq!(called(Wire::Gemini, 200, cut).await.0.expect_err("cut").kind(), Kind::Connection);
}

#[tokio::test]
async fn response_that_is_malformed_twice_is_not_retried_again() {
    for body in
        ["no JSON at all", "{}", r#"{"choices": [{"finish_reason": null, "message": {"content": ""}}]}"#]
    {
        let (outcome, calls) = called(Wire::OpenAi, 200, body).await;
        assert_eq!((outcome.expect_err(body).kind(), calls), (Kind::Malformed, 2), "{body}");
    }
}

/// Each of these calls was paid for.
#[tokio::test]
async fn malformed_responses_are_retried_once_whatever_their_forms_and_too_large_ones_never() {
    let forms =
        ["no JSON at all", "{}", r#"{"choices": [{"finish_reason": null, "message": {"content": ""}}]}"#];
    let (outcome, calls) = called_in_turn(Wire::OpenAi, 200, &forms).await;
    assert_eq!((outcome.expect_err("malformed").kind(), calls), (Kind::Malformed, 2));
    let long = answers(&"a".repeat(9 << 20), "\"stop\"");
    let many = answers("8", "\"stop\"").into_iter().map(|(wire, body)| {
        (wire, body.replacen('{', &format!("{{\"x\": [{}1], ", "[],".repeat(1 << 20)), 1))
    });
    for (wire, body) in long.into_iter().chain(many) {
        let (outcome, calls) = called(wire, 200, &body).await;
        let error = outcome.expect_err("it is too large");
        assert_eq!((error.kind(), calls), (Kind::Malformed, 1), "{error}");
        assert!(error.to_string().contains("at most"), "{error}");
    }
}

#[tokio::test]
async fn errors_are_parsed_in_every_format() {
    let body = "\u{feff}{\"error\": {\"message\": \"no model \\ud83d\", \"code\": \"model_not_found\"}}";
    let nested = r#"{"error": {"message": "{\"error\": {\"message\": \"no model \\ud83d\", \"code\": \"model_not_found\"}}"}}"#;
    for body in [body, nested] {
        let (outcome, calls) = called(Wire::OpenAi, 400, body).await;
        let error = outcome.expect_err(body);
        assert_eq!((error.kind(), calls), (Kind::NotFound, 1), "{error}");
        assert!(error.to_string().contains("no model \u{fffd}"), "{error}");
    }
}

#[tokio::test]
async fn judges_json_may_contain_a_lone_surrogate() {
    let text = r#"{\"score\": 8, \"rationale\": \"good \\ud83d\"}"#;
    let scale = Scale { min: 1.0, max: 10.0 };
    for (wire, body) in answers(text, "\"stop\"") {
        let completion = called(wire, 200, &body).await.0.expect(&body);
        let verdict = Verdict::of_score(&completion, scale, BeyondScale::Keep);
        assert_eq!(verdict, Verdict::Given(Score { value: 8.0, is_out_of_range: false }), "{body}");
    }
}

#[tokio::test]
async fn token_counts_saturate() {
    let body = format!(
        r#"{{"content": "8", "stop_reason": "end_turn", "usage": {{"input_tokens": {0}, "cache_read_input_tokens": {0}, "output_tokens": {0}}}}}"#,
        u64::MAX
    );
    let completion = called(Wire::Anthropic, 200, &body).await.0.expect("an answer");
    assert_eq!(completion.usage.map(|usage| usage.input_tokens), Some(u64::MAX));
}
