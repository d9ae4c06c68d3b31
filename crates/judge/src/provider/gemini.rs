//! Google's `generateContent`.

use serde_json::{Value, json};

use super::{
    Content, Parameter, Parameters, Reply, Request, Unreadable, Usage,
    ending::{Ending, ending},
    owned,
};

pub(super) fn body(request: &Request, refused: Parameters) -> Value {
    let Request { system: _, prompt: _, temperature, max_tokens, seed, json_schema } = request;
    let takes = |parameter| !refused.has(parameter);
    let (system, prompt) = request.instructed(refused);
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]});
    if let Some(system) = system {
        body["systemInstruction"] = json!({"parts": [{"text": system}]});
    }
    let mut generation = json!({});
    if let Some(temperature) = temperature
        && takes(Parameter::Temperature)
    {
        generation["temperature"] = json!(temperature);
    }
    if let Some(max_tokens) = max_tokens
        && takes(Parameter::MaxTokens)
    {
        generation["maxOutputTokens"] = json!(max_tokens);
    }
    if let Some(seed) = seed
        && takes(Parameter::Seed)
    {
        generation["seed"] = json!(seed);
    }
    if let Some(schema) = json_schema
        && takes(Parameter::JsonSchema)
    {
        generation["responseMimeType"] = json!("application/json");
        generation["responseJsonSchema"] = schema.clone();
    }
    body["generationConfig"] = generation;
    body
}

pub(super) fn read(body: &Value) -> Result<Reply, Unreadable> {
    if body.get("error").is_some() {
        return Err(Unreadable::Error(body.clone()));
    }
    let candidate = &body["candidates"][0];
    let blocked = owned(&body["promptFeedback"]["blockReason"]);
    let (content, finish_reason) = match (candidate.is_object(), blocked) {
        (true, _) => {
            let (said, ending) = ending(&candidate["finishReason"]);
            (content(candidate, &said, ending)?, said)
        }
        (false, Some(reason)) => (Content::Filtered(reason.clone()), reason),
        (false, None) => return Err(Unreadable::Form("`candidates` or `promptFeedback.blockReason`")),
    };
    Ok(Reply {
        content,
        model: owned(&body["modelVersion"]),
        provider_id: owned(&body["responseId"]),
        finish_reason,
        usage: usage(&body["usageMetadata"]),
    })
}

/// A count of zero is omitted, as in protocol buffers: a blocked prompt has no `candidatesTokenCount`.
fn usage(metadata: &Value) -> Option<Usage> {
    metadata["promptTokenCount"].as_u64()?;
    let mut counts = metadata.clone();
    if counts["candidatesTokenCount"].is_null() {
        counts["candidatesTokenCount"] = json!(0);
    }
    let input = ["/promptTokenCount", "/toolUsePromptTokenCount"];
    Usage::read(&counts, &input, &["/candidatesTokenCount", "/thoughtsTokenCount"])
}

fn content(candidate: &Value, said: &str, ending: Ending) -> Result<Content, Unreadable> {
    let parts = candidate["content"]["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let answer = parts.iter().filter(|part| part["thought"] != true);
    let text: String = answer.filter_map(|part| part["text"].as_str()).collect();
    let calls_tools = || parts.iter().any(|part| part.get("functionCall").is_some());
    Ok(match ending {
        Ending::Unsaid | Ending::Whole if calls_tools() => Content::ToolCall(text),
        Ending::Unsaid => Content::without_reason(text, "`candidates[0].finishReason`")?,
        Ending::Whole => Content::whole(text),
        Ending::ToolCall => Content::ToolCall(text),
        Ending::Refused => Content::Refused(text),
        Ending::Filtered => Content::Filtered(said.to_owned()),
        Ending::Cut | Ending::Failed => Content::Truncated(text),
    })
}

/// The complete response from the pieces of a stream, which must end with a reason, or otherwise if `is_done`.
pub(super) fn fold(pieces: &[Value], is_done: bool) -> Result<Value, Unreadable> {
    let mut whole = json!({});
    let mut parts = Vec::new();
    for piece in pieces {
        if piece.get("error").is_some() {
            return Err(Unreadable::Error(piece.clone()));
        }
        for name in ["modelVersion", "responseId", "usageMetadata", "promptFeedback"] {
            if let Some(value) = piece.get(name) {
                whole[name] = value.clone();
            }
        }
        if let Some(candidate) = piece["candidates"].get(0) {
            parts.extend(candidate["content"]["parts"].as_array().into_iter().flatten().cloned());
            // The reason may come before the last piece, which then has none.
            let reason = [&candidate["finishReason"], &whole["candidates"][0]["finishReason"]];
            let reason = reason.into_iter().find(|reason| !reason.is_null()).cloned();
            whole["candidates"] = json!([{"finishReason": reason}]);
        }
    }
    if whole.get("candidates").is_some() {
        if whole["candidates"][0]["finishReason"].is_null() && !is_done {
            return Err(Unreadable::Unfinished);
        }
        whole["candidates"][0]["content"] = json!({"parts": parts});
    }
    Ok(whole)
}
