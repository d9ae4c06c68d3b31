//! Requests to models, and their answers.

use records::{MAX_ID_CHARS, shortened, without_nul};
use serde_json::{Map, Value};

use super::{error::NoOutput, metric::Question};
use crate::{
    provider::{Completion, Content, Disposition, Error, Request},
    registry::Model,
};

/// Keys of an output's metadata that record its origin.
pub(crate) const OUTPUT_KEYS: [&str; 9] = [
    "provider",
    "provider_id",
    "model_version",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "cost_usd",
    "run_id",
];

/// Why a model's answer is not an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// The reason as a single word.
    pub(crate) kind: &'static str,
    /// The provider's explanation.
    pub(crate) words: String,
    /// Whether the model or its provider declined.
    pub(crate) is_refusal: bool,
}

/// The request to a model.
pub(crate) fn request(model: &Model, question: &Question, temperature: f64) -> Request {
    Request { temperature: model.takes_temperature.then_some(temperature), ..Request::new(&question.text) }
}

/// The answer, if it can be judged; with U+FFFD for each NUL, which PostgreSQL's `text` cannot store. The answer is
/// paid for, and a retry would return the same.
pub(crate) fn whole_text(completion: &Completion) -> Result<String, Unusable> {
    let (kind, words, is_refusal) = match &completion.content {
        Content::Text(text) => return Ok(text.replace('\0', "\u{fffd}")),
        Content::Truncated(_) => ("truncated", "its answer was truncated".to_owned(), false),
        Content::Refused(words) => ("refused", format!("it declined: {words}"), true),
        Content::Filtered(reason) => {
            let reason = shortened(reason, MAX_ID_CHARS);
            ("filtered", format!("its provider filtered the answer: {reason}"), true)
        }
        Content::ToolCall(_) => ("tool_call", "it called a tool".to_owned(), false),
        Content::Empty => ("empty", "its answer is empty".to_owned(), false),
    };
    Err(Unusable { kind, words, is_refusal })
}

/// Resources that a call used.
pub(crate) fn call_metadata(model: &Model, completion: &Completion) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("latency_ms".to_owned(), latency_ms(completion).into());
    if let Some(usage) = completion.usage {
        metadata.insert("input_tokens".to_owned(), usage.input_tokens.into());
        metadata.insert("output_tokens".to_owned(), usage.output_tokens.into());
    }
    if let Some(cost_usd) = model.cost_usd(completion.usage) {
        metadata.insert("cost_usd".to_owned(), cost_usd.into());
    }
    metadata
}

pub(crate) fn latency_ms(completion: &Completion) -> u64 {
    // No answer takes 500 million years.
    u64::try_from(completion.latency.as_millis()).unwrap_or(u64::MAX)
}

/// The origin of an output.
pub(crate) fn output_metadata(model: &Model, completion: &Completion) -> Map<String, Value> {
    let mut metadata = call_metadata(model, completion);
    metadata.insert("provider".to_owned(), model.provider.clone().into());
    let names = [
        ("finish_reason", Some(&completion.finish_reason)),
        ("model_version", Some(&completion.model)),
        ("provider_id", completion.provider_id.as_ref()),
    ];
    for (key, name) in names {
        metadata.extend(name.map(|name| (key.to_owned(), label(name).into())));
    }
    metadata
}

/// Why there is no answer of `model`.
pub(crate) fn no_answer(model: &Model, error: &Error) -> NoOutput {
    /// The wait if the provider gives no hint: long enough for most overloads to end.
    const AFTER: std::time::Duration = std::time::Duration::from_secs(5);
    let retry_after = match error.disposition() {
        Disposition::Retry { after } => Some(after.unwrap_or(AFTER)),
        Disposition::Stop(_) => None,
    };
    let (kind, words) = (error.kind().as_str(), error.to_string());
    NoOutput { model_id: model.id.clone(), kind, words, retry_after }
}

/// A name that a provider gives: an id, a model or a reason. A truncated id is not an id.
pub(crate) fn label(name: &str) -> String {
    let is_unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let visible = |c: char| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c };
    shortened(name, MAX_ID_CHARS).chars().map(visible).collect()
}

/// Text of a provider, with `␀` for each NUL, which PostgreSQL's JSON functions reject.
pub(crate) fn words(text: &str) -> Value {
    without_nul(text).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn labels_of_providers_are_short_and_visible() {
        let long = format!("\u{1b}[2J{}", "r".repeat(3_000_000));
        for (name, expected) in [
            ("stop", "stop".to_owned()),
            ("gpt-4o (2026) é", "gpt-4o (2026) é".to_owned()),
            ("a\0b\r\n\u{9b}c\u{202e}d", "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d".to_owned()),
            (&long, format!("\u{fffd}[2J{}…", "r".repeat(MAX_ID_CHARS - 4))),
        ] {
            assert_eq!(label(name), expected);
        }
        let completion = Completion {
            content: Content::Text("7".into()),
            model: long.clone(),
            provider_id: Some(long.clone()),
            finish_reason: long,
            usage: None,
            latency: Duration::ZERO,
            memory: crate::provider::ResponseReservation::default(),
        };
        let model = Model::unknown("m", "p");
        for (key, value) in output_metadata(&model, &completion) {
            assert!(value.to_string().len() < 4 * MAX_ID_CHARS, "{key}");
            assert!(!value.to_string().contains("u001b"), "{key}");
        }
    }

    #[test]
    fn nul_is_replaced_in_answers() {
        let completion = Completion {
            content: Content::Text("It is\0 7.\0".into()),
            model: "m".into(),
            provider_id: None,
            finish_reason: "stop".into(),
            usage: None,
            latency: Duration::ZERO,
            memory: crate::provider::ResponseReservation::default(),
        };
        assert_eq!(whole_text(&completion), Ok("It is\u{fffd} 7.\u{fffd}".to_owned()));
    }
}
