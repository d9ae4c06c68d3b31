//! OpenAI's chat completions, as OpenAI and the many who speak its API write them.

use serde_json::{Value, json};

use super::{Content, Reply, Request, Transport, Unreadable, Usage, owned};
use crate::registry;

pub(super) const PATH: [&str; 2] = ["chat", "completions"];

pub(super) fn body(model: &str, request: &Request, transport: Transport) -> Value {
    let Request { system, prompt, temperature, max_tokens, seed, json_schema } = request;
    let system = system.iter().map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<Value> = system.chain([json!({"role": "user", "content": prompt})]).collect();
    let mut body = json!({"model": model, "messages": messages});
    if let Some(temperature) = temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(max_tokens) = max_tokens {
        // Models that think know only the new name, and some servers only the old one.
        let name = if registry::thinks(model) { "max_completion_tokens" } else { "max_tokens" };
        body[name] = json!(max_tokens);
    }
    if let Some(seed) = seed {
        body["seed"] = json!(seed);
    }
    if let Some(schema) = json_schema {
        let schema = json!({"name": "answer", "strict": true, "schema": schema});
        body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
    }
    if transport == Transport::Streamed {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

pub(super) fn read(body: &Value) -> Result<Reply, Unreadable> {
    let choice = &body["choices"][0];
    // OpenRouter reports failures of the provider behind it with status 200.
    for holder in [body, choice] {
        if holder.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Unreadable::Error(holder.clone()));
        }
    }
    let message = choice.get("message").filter(|message| message.is_object());
    let message = message.ok_or(Unreadable::Form("`choices[0].message`"))?;
    let finish_reason =
        owned(&choice["finish_reason"]).ok_or(Unreadable::Form("`choices[0].finish_reason`"))?;
    let text = text(&message["content"]);
    let content = match (finish_reason.as_str(), owned(&message["refusal"])) {
        (_, Some(refusal)) => Content::Refused(refusal),
        ("content_filter", None) => Content::Filtered(finish_reason.clone()),
        ("tool_calls" | "function_call", None) => Content::ToolCall(text),
        // The last two are what servers of the Hugging Face family say.
        ("stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token", None) => Content::whole(text),
        ("error", None) => return Err(Unreadable::Unfinished),
        _ => Content::Truncated(text),
    };
    Ok(Reply {
        content,
        model: owned(&body["model"]),
        provider_id: owned(&body["id"]),
        finish_reason,
        usage: Usage::read(&body["usage"], &["/prompt_tokens"], &["/completion_tokens"]),
    })
}

/// A text, or parts of which only those of type `text` are the answer: Mistral's thoughts are others.
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

/// The whole answer that the pieces of a stream make, which has its end with a reason or with `[DONE]`.
pub(super) fn fold(pieces: &[Value], is_done: bool) -> Result<Value, Unreadable> {
    let (mut content, mut refusal) = (String::new(), String::new());
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
        // Beside the choices one asked for, Azure sends pieces without any, on its filter's findings.
        let choice = &piece["choices"][0];
        content += &text(&choice["delta"]["content"]);
        refusal += choice["delta"]["refusal"].as_str().unwrap_or("");
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
    whole["choices"][0]["message"] = json!({"content": content, "refusal": refusal});
    Ok(whole)
}
