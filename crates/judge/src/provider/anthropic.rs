//! Anthropic's messages.

use serde_json::{Value, json};

use super::{
    Content, Parameter, Parameters, Reply, Request, Transport, Unreadable, Usage,
    ending::{Ending, ending},
    owned,
};

pub(super) const PATH: [&str; 2] = ["v1", "messages"];

/// The API version of this module, which Anthropic requires in each request.
pub(super) const VERSION: &str = "2023-06-01";

/// The API requires a limit. A judge's verdict and most answers are shorter than this, and all of its models support as
/// much.
const MAX_TOKENS: u32 = 4096;

pub(super) fn body(model: &str, request: &Request, transport: Transport, refused: Parameters) -> Value {
    let Request { system: _, prompt: _, temperature, max_tokens, seed: _, json_schema } = request;
    let takes = |parameter| !refused.has(parameter);
    let (system, prompt) = request.instructed(refused);
    let mut body = json!({
        "model": model,
        "max_tokens": max_tokens.unwrap_or(MAX_TOKENS),
        "messages": [{"role": "user", "content": prompt}],
    });
    if let Some(system) = system {
        body["system"] = json!(system);
    }
    if let Some(temperature) = temperature
        && takes(Parameter::Temperature)
    {
        body["temperature"] = json!(temperature);
    }
    if let Some(schema) = json_schema
        && takes(Parameter::JsonSchema)
    {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    if transport == Transport::Streamed && takes(Parameter::Stream) {
        body["stream"] = json!(true);
    }
    body
}

pub(super) fn read(body: &Value) -> Result<Reply, Unreadable> {
    if body["type"] == "error" {
        return Err(Unreadable::Error(body.clone()));
    }
    let content = match &body["content"] {
        // Some proxies return no blocks.
        Value::String(text) => &json!([{"type": "text", "text": text}]),
        content => content,
    };
    let blocks = content.as_array().ok_or(Unreadable::Form("`content`, a list"))?;
    let (finish_reason, ending) = ending(&body["stop_reason"]);
    let texts = blocks.iter().filter(|block| block["type"] == "text");
    let text: String = texts.filter_map(|block| block["text"].as_str()).collect();
    let content = match ending {
        Ending::Unsaid if blocks.iter().any(|block| block["type"] == "tool_use") => Content::ToolCall(text),
        Ending::Unsaid => Content::without_reason(text, "`stop_reason`")?,
        Ending::Whole => Content::whole(text),
        Ending::ToolCall => Content::ToolCall(text),
        Ending::Refused => Content::Refused(text),
        Ending::Filtered => Content::Filtered(finish_reason.clone()),
        Ending::Cut | Ending::Failed => Content::Truncated(text),
    };
    let cached = "/cache_read_input_tokens";
    let input = ["/input_tokens", "/cache_creation_input_tokens", cached];
    Ok(Reply {
        content,
        model: owned(&body["model"]),
        provider_id: owned(&body["id"]),
        finish_reason,
        usage: Usage::read(&body["usage"], &input, &["/output_tokens"]),
    })
}

/// The complete response from the events of a stream.
pub(super) fn fold(events: &[Value]) -> Result<Value, Unreadable> {
    let mut whole = Value::Null;
    let mut text = String::new();
    let mut is_over = false;
    for event in events {
        match event["type"].as_str() {
            Some("message_start") => whole = event["message"].clone(),
            Some("content_block_start") => {
                text += event["content_block"]["text"].as_str().unwrap_or("");
            }
            Some("content_block_delta") => text += event["delta"]["text"].as_str().unwrap_or(""),
            Some("message_delta") if whole.is_object() => {
                whole["stop_reason"] = event["delta"]["stop_reason"].clone();
                let counts = event["usage"].as_object().into_iter().flatten();
                for (name, count) in counts.filter(|(_, count)| !count.is_null()) {
                    whole["usage"][name] = count.clone();
                }
            }
            Some("message_stop") => is_over = true,
            Some("error") => return Err(Unreadable::Error(event.clone())),
            // Pings, ends of blocks, and future events.
            _ => {}
        }
    }
    if !is_over || !whole.is_object() {
        return Err(Unreadable::Unfinished);
    }
    whole["content"] = json!([{"type": "text", "text": text}]);
    Ok(whole)
}
