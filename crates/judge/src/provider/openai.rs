//! Chat completions of OpenAI and of OpenAI-compatible servers.

use serde_json::{Value, json};

use super::{
    Content, Parameter, Parameters, Reply, Request, Transport, Unreadable, Usage,
    ending::{Ending, ending},
    owned,
};
use crate::registry;

pub(super) const PATH: [&str; 2] = ["chat", "completions"];

pub(super) fn body(model: &str, request: &Request, transport: Transport, refused: Parameters) -> Value {
    let Request { system: _, prompt: _, temperature, max_tokens, seed, json_schema } = request;
    let takes = |parameter| !refused.has(parameter);
    let (system, prompt) = request.instructed(refused);
    let system = system.map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<Value> =
        system.into_iter().chain([json!({"role": "user", "content": prompt})]).collect();
    let mut body = json!({"model": model, "messages": messages});
    if let Some(temperature) = temperature
        && takes(Parameter::Temperature)
    {
        body["temperature"] = json!(temperature);
    }
    // Reasoning models support only the new name, and some servers only the old one.
    let mut names = [Parameter::MaxTokens, Parameter::MaxCompletionTokens];
    if registry::thinks(model) {
        names.reverse();
    }
    if let Some(max_tokens) = max_tokens
        && takes(Parameter::Temperature)
        && let Some(name) = names.into_iter().find(|name| takes(*name))
    {
        body[name.as_str()] = json!(max_tokens);
    }
    if let Some(seed) = seed
        && takes(Parameter::Seed)
    {
        body["seed"] = json!(seed);
    }
    if let Some(schema) = json_schema
        && takes(Parameter::JsonSchema)
    {
        let schema = json!({"name": "answer", "strict": true, "schema": schema});
        body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
    }
    if transport == Transport::Streamed && takes(Parameter::Stream) {
        body["stream"] = json!(true);
        if takes(Parameter::StreamUsage) {
            body["stream_options"] = json!({"include_usage": true});
        }
    }
    body
}

pub(super) fn read(body: &Value) -> Result<Reply, Unreadable> {
    let choice = &body["choices"][0];
    // OpenRouter reports failures of its upstream provider with status 200.
    for holder in [body, choice] {
        if holder.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Unreadable::Error(holder.clone()));
        }
    }
    let message = choice.get("message").filter(|message| message.is_object());
    // Servers of the earlier completions return a text.
    let (message, content) = match (message, choice.get("text")) {
        (Some(message), _) => (message, &message["content"]),
        (None, Some(text)) if text.is_string() => (&Value::Null, text),
        (None, _) => return Err(Unreadable::Form("`choices[0].message`")),
    };
    let (finish_reason, ending) = ending(&choice["finish_reason"]);
    let text = text(content);
    let calls_tools = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    let content = match (ending, owned(&message["refusal"])) {
        (_, Some(refusal)) => Content::Refused(refusal),
        (Ending::Filtered, None) => Content::Filtered(finish_reason.clone()),
        (Ending::ToolCall, None) => Content::ToolCall(text),
        (Ending::Unsaid, None) if calls_tools => Content::ToolCall(text),
        (Ending::Unsaid, None) => Content::without_reason(text, "`choices[0].finish_reason`")?,
        (Ending::Whole, None) => Content::whole(text),
        (Ending::Refused, None) => Content::Refused(text),
        (Ending::Failed, None) => return Err(Unreadable::Unfinished),
        (Ending::Cut, None) => Content::Truncated(text),
    };
    Ok(Reply {
        content,
        model: owned(&body["model"]),
        provider_id: owned(&body["id"]),
        finish_reason,
        usage: Usage::read(&body["usage"], &["/prompt_tokens"], &["/completion_tokens"]),
    })
}

/// A text, or the parts of type `text`; Mistral's reasoning has other types.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            texts.filter_map(|part| part["text"].as_str()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// The complete response from the pieces of a stream, which must end with a reason or with `[DONE]`.
pub(super) fn fold(pieces: &[Value], is_done: bool) -> Result<Value, Unreadable> {
    let (mut content, mut refusal, mut tool_calls) = (String::new(), String::new(), Vec::new());
    let mut whole = json!({"choices": [{"finish_reason": null}]});
    for piece in pieces {
        if piece.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Unreadable::Error(piece.clone()));
        }
        for name in ["id", "model", "usage"] {
            if !piece[name].is_null() && piece[name] != "" {
                whole[name] = piece[name].clone();
            }
        }
        // In addition to the requested choices, Azure sends pieces without any, with results of its filter.
        let choice = &piece["choices"][0];
        content += &text(&choice["delta"]["content"]);
        content += choice["text"].as_str().unwrap_or("");
        refusal += choice["delta"]["refusal"].as_str().unwrap_or("");
        tool_calls.extend(choice["delta"]["tool_calls"].as_array().into_iter().flatten().cloned());
        if !choice["finish_reason"].is_null() {
            whole["choices"][0]["finish_reason"] = choice["finish_reason"].clone();
        }
        if let Some(error) = choice.get("error").filter(|error| !error.is_null()) {
            return Err(Unreadable::Error(json!({"error": error})));
        }
    }
    if whole["choices"][0]["finish_reason"].is_null() && !is_done {
        return Err(Unreadable::Unfinished);
    }
    whole["choices"][0]["message"] =
        json!({"content": content, "refusal": refusal, "tool_calls": tool_calls});
    Ok(whole)
}
