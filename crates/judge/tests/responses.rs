//! Every recorded response to a chat request, replayed over HTTP, becomes the right completion.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use judge::provider::{Completion, Content, Kind, Provider, ProviderConfig, Request, Usage, Wire};
use serde::Deserialize;
use serde_json::Value;
use test_support::{HttpAnswer, HttpStub};

use test_support::shared_lines as lines;

/// The content of a recorded response, parsed independently of the product: by types, and streams piece by piece.
#[derive(Debug, Default, PartialEq)]
struct Recorded {
    id: Option<String>,
    model: Option<String>,
    text: String,
    finish: Option<String>,
    usage: (u64, u64),
    calls_tools: bool,
}

fn wire(case: &Value) -> Option<Wire> {
    let path = case["path"].as_str().expect("a path").trim_end_matches("#stream");
    match path {
        path if path.ends_with("/chat/completions") => Some(Wire::OpenAi),
        path if path.ends_with("/v1/messages") => Some(Wire::Anthropic),
        path if path.ends_with("enerateContent") => Some(Wire::Gemini),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_become_completions() {
    let body = Arc::new(Mutex::new(String::new()));
    let current = body.clone();
    let stub = HttpStub::start(move |_| Some(HttpAnswer::json(200, &current.lock().expect("no panic"))));
    let provider =
        |wire| Provider::new(ProviderConfig::new("recorded", wire, &stub.url(), None)).expect("it is set up");
    let providers = [Wire::OpenAi, Wire::Anthropic, Wire::Gemini].map(|wire| (wire, provider(wire)));
    let (mut kinds, mut hosts, mut left_out) = (BTreeMap::new(), BTreeMap::new(), 0);
    for case in lines("recorded_responses.jsonl.gz").iter().filter(|case| case["status"] == 200) {
        let Some(wire) = wire(case) else { continue };
        let text = match &case["response"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // Two were recorded compressed, and are damaged.
        if text.starts_with('\u{1f}') {
            left_out += 1;
            continue;
        }
        *body.lock().expect("no panic") = text.clone();
        let (_, provider) = providers.iter().find(|(other, _)| *other == wire).expect("one for each");
        let completion = provider.complete("asked-for", &Request::new("…")).await;
        let completion = match completion {
            // Groq reports it in the middle of the stream.
            Err(error) if text.contains("\nevent: error\n") && error.kind() == Kind::BadRequest => {
                *kinds.entry("error").or_insert(0) += 1;
                continue;
            }
            // A stream with a tool call and without a finish reason.
            Ok(completion) if text.contains("gen-1753242299-QZRAt5HJHd1ptY8sdS0s") => {
                assert_eq!(
                    (&completion.content, &completion.finish_reason[..]),
                    (&Content::ToolCall(String::new()), "")
                );
                left_out += 1;
                continue;
            }
            Ok(completion) => completion,
            Err(error) => panic!("{}: {error:?}: {}", case["file"], start(&text)),
        };
        let recorded = recorded(wire, &text);
        *kinds.entry(check(&completion, &recorded, start(&text))).or_insert(0) += 1;
        *hosts.entry(case["host"].as_str().expect("a host").to_owned()).or_insert(0) += 1;
    }
    println!("{kinds:?}, left out {left_out}, {hosts:?}");
    if !kinds.is_empty() {
        let expected = [("error", 1), ("filtered", 2), ("text", 293), ("tool call", 252), ("truncated", 1)];
        assert_eq!(kinds, BTreeMap::from(expected));
        assert_eq!(left_out, 3);
        assert_eq!(hosts.len(), 9, "all hosts that speak these forms");
    }
}

/// Compares all fields, and returns the kind of content.
fn check(completion: &Completion, recorded: &Recorded, body: &str) -> &'static str {
    let (kind, text) = match &completion.content {
        Content::Text(text) => ("text", text.clone()),
        Content::Truncated(text) => ("truncated", text.clone()),
        Content::ToolCall(text) => ("tool call", text.clone()),
        Content::Refused(text) => ("refused", text.clone()),
        Content::Filtered(_) => ("filtered", String::new()),
        Content::Empty => ("empty", String::new()),
    };
    assert_eq!(text, recorded.text, "{body}");
    assert_eq!(Some(&completion.finish_reason), recorded.finish.as_ref(), "{body}");
    assert_eq!(completion.provider_id, recorded.id, "{body}");
    assert_eq!(Some(&completion.model), recorded.model.as_ref(), "{body}");
    let (input_tokens, output_tokens) = recorded.usage;
    let usage = (recorded.usage != (0, 0)).then_some(Usage { input_tokens, output_tokens });
    assert_eq!(completion.usage, usage, "{body}");
    assert_eq!(kind == "tool call", recorded.calls_tools, "{body}");
    kind
}

/// Enough to identify it.
fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(500)]
}

/// The pieces of a response: all of it, or the events of a stream.
fn pieces(body: &str) -> Vec<&str> {
    if body.starts_with('{') {
        return vec![body];
    }
    let lines = body.split(['\n', '\r']).map(str::trim).filter_map(|line| line.strip_prefix("data: "));
    lines.filter(|line| *line != "[DONE]").collect()
}

fn recorded(wire: Wire, body: &str) -> Recorded {
    let mut recorded = Recorded::default();
    for piece in pieces(body) {
        let parsed = match wire {
            Wire::OpenAi | Wire::AzureOpenAi => serde_json::from_str(piece).map(|p| openai(p, &mut recorded)),
            Wire::Anthropic => serde_json::from_str(piece).map(|piece| anthropic(piece, &mut recorded)),
            Wire::Gemini => serde_json::from_str(piece).map(|piece| gemini(piece, &mut recorded)),
        };
        parsed.unwrap_or_else(|error| panic!("{error}: {piece}"));
    }
    recorded
}

#[derive(Deserialize)]
struct OpenAi {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    choices: Vec<OpenAiChoice>,
    usage: Option<OpenAiUsage>,
}

#[derive(Deserialize)]
struct OpenAiChoice {
    #[serde(alias = "delta")]
    message: OpenAiMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct OpenAiMessage {
    content: Option<OpenAiContent>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OpenAiContent {
    Text(String),
    Parts(Vec<OpenAiPart>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OpenAiPart {
    Text { text: String },
    Thinking {},
}

#[derive(Deserialize)]
struct OpenAiUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

fn openai(piece: OpenAi, recorded: &mut Recorded) {
    recorded.id = piece.id.filter(|id| !id.is_empty()).or(recorded.id.take());
    recorded.model = piece.model.filter(|model| !model.is_empty()).or(recorded.model.take());
    if let Some(usage) = piece.usage {
        recorded.usage = (usage.prompt_tokens, usage.completion_tokens);
    }
    for choice in piece.choices {
        match choice.message.content {
            Some(OpenAiContent::Text(text)) => recorded.text += &text,
            Some(OpenAiContent::Parts(parts)) => {
                for part in parts {
                    match part {
                        OpenAiPart::Text { text } => recorded.text += &text,
                        OpenAiPart::Thinking {} => {}
                    }
                }
            }
            None => {}
        }
        recorded.calls_tools |= choice.finish_reason.as_deref() == Some("tool_calls");
        recorded.finish = choice.finish_reason.or(recorded.finish.take());
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Anthropic {
    Message(AnthropicMessage),
    MessageStart {
        message: AnthropicMessage,
    },
    ContentBlockStart {
        content_block: Value,
    },
    ContentBlockDelta {
        delta: Value,
    },
    MessageDelta {
        delta: AnthropicEnd,
        usage: AnthropicUsage,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct AnthropicMessage {
    id: String,
    model: String,
    content: Vec<Value>,
    #[serde(flatten)]
    end: AnthropicEnd,
    usage: AnthropicUsage,
}

#[derive(Deserialize)]
struct AnthropicEnd {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct AnthropicUsage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: u64,
}

fn anthropic(piece: Anthropic, recorded: &mut Recorded) {
    let text = |block: &Value| match (block["type"].as_str(), block["text"].as_str()) {
        (Some("text" | "text_delta"), Some(text)) => text.to_owned(),
        _ => String::new(),
    };
    let (end, usage) = match piece {
        Anthropic::Message(message) | Anthropic::MessageStart { message } => {
            recorded.id = Some(message.id);
            recorded.model = Some(message.model);
            recorded.text += &message.content.iter().map(text).collect::<String>();
            (message.end, message.usage)
        }
        Anthropic::MessageDelta { delta, usage } => (delta, usage),
        Anthropic::ContentBlockStart { content_block: block }
        | Anthropic::ContentBlockDelta { delta: block } => {
            recorded.text += &text(&block);
            return;
        }
        Anthropic::Other => return,
    };
    recorded.calls_tools = end.stop_reason.as_deref() == Some("tool_use");
    recorded.finish = end.stop_reason;
    let cached = [usage.cache_creation_input_tokens, usage.cache_read_input_tokens];
    if let Some(input) = usage.input_tokens {
        recorded.usage.0 = input + cached.iter().flatten().sum::<u64>();
    }
    recorded.usage.1 = usage.output_tokens;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gemini {
    response_id: Option<String>,
    model_version: String,
    candidates: Vec<GeminiCandidate>,
    usage_metadata: GeminiUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiCandidate {
    content: Option<GeminiContent>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct GeminiContent {
    #[serde(default)]
    parts: Vec<GeminiPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiPart {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    function_call: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct GeminiUsage {
    prompt_token_count: u64,
    tool_use_prompt_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
}

fn gemini(piece: Gemini, recorded: &mut Recorded) {
    recorded.id = piece.response_id;
    recorded.model = Some(piece.model_version);
    let usage = piece.usage_metadata;
    recorded.usage = (
        usage.prompt_token_count + usage.tool_use_prompt_token_count,
        usage.candidates_token_count + usage.thoughts_token_count,
    );
    for candidate in piece.candidates {
        for part in candidate.content.into_iter().flat_map(|content| content.parts) {
            if !part.thought {
                recorded.text += part.text.as_deref().unwrap_or("");
            }
            recorded.calls_tools |= part.function_call.is_some();
        }
        let finish = candidate.finish_reason;
        recorded.calls_tools |= finish.as_deref() == Some("UNEXPECTED_TOOL_CALL");
        recorded.finish = finish.or(recorded.finish.take());
    }
}
