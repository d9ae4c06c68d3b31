//! What a model answered, and how it becomes an output.

use judge::{
    provider::{Completion, Content, Disposition, Error, Request},
    registry::Model,
};
use serde_json::{Map, Value};
use store::storage::{Production, Record};

use super::{Question, judgement::words};
use crate::{
    answer::ApiError,
    records::{Records, StoredRecord},
    request::IdempotencyKey,
    wire::{ClientId, DraftRecord, Outputs},
};

/// Keys of an output's metadata that say how it came to be.
pub(super) const OUTPUT_KEYS: [&str; 9] = [
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

/// Why a model's answer is no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoOutput {
    /// In one word.
    pub(super) kind: &'static str,
    /// In the provider's words.
    pub(super) words: String,
    /// Whether the model or its provider declined.
    pub(super) is_refusal: bool,
}

/// What a model is asked.
pub(super) fn request(model: &Model, question: &Question, temperature: f64) -> Request {
    Request { temperature: model.takes_temperature.then_some(temperature), ..Request::new(&question.text) }
}

/// The answer, if it is one that can be judged.
pub(super) fn whole_text(completion: &Completion) -> Result<&str, NoOutput> {
    let (kind, words, is_refusal) = match &completion.content {
        Content::Text(text) if text.contains('\0') => {
            ("unstorable", "its answer has the character NUL".to_owned(), false)
        }
        Content::Text(text) => return Ok(text),
        Content::Truncated(_) => ("truncated", "its answer was cut off".to_owned(), false),
        Content::Refused(words) => ("refused", format!("it declined: {words}"), true),
        Content::Filtered(reason) => {
            ("filtered", format!("its provider kept the answer back: {reason}"), true)
        }
        Content::ToolCall(_) => ("tool_call", "it called a tool".to_owned(), false),
        Content::Empty => ("empty", "its answer is empty".to_owned(), false),
    };
    Err(NoOutput { kind, words, is_refusal })
}

/// What a call took.
pub(super) fn call_metadata(model: &Model, completion: &Completion) -> Map<String, Value> {
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

pub(super) fn latency_ms(completion: &Completion) -> u64 {
    // No answer takes 500 million years.
    u64::try_from(completion.latency.as_millis()).unwrap_or(u64::MAX)
}

/// How an output came to be.
pub(super) fn output_metadata(model: &Model, completion: &Completion) -> Map<String, Value> {
    let mut metadata = call_metadata(model, completion);
    metadata.insert("provider".to_owned(), model.provider.clone().into());
    metadata.insert("finish_reason".to_owned(), words(&completion.finish_reason));
    metadata.insert("model_version".to_owned(), words(&completion.model));
    if let Some(id) = &completion.provider_id {
        metadata.insert("provider_id".to_owned(), words(id));
    }
    metadata
}

/// An output that is not stored yet, but for its id.
pub(super) struct NewOutput<'o> {
    pub(super) model_id: &'o str,
    pub(super) question: &'o Question,
    pub(super) theme: &'o str,
    pub(super) text: String,
    pub(super) metadata: Map<String, Value>,
}

impl NewOutput<'_> {
    pub(super) fn draft(&self, id: Option<String>) -> DraftRecord {
        let production = Production { model_id: self.model_id.to_owned(), query: self.question.text.clone() };
        DraftRecord {
            id: id.map(ClientId),
            text: self.text.clone(),
            category: self.theme.to_owned(),
            production: Some(production),
            metadata: Some(self.metadata.clone()),
        }
    }

    /// Stores it by the provider's id, or where another output has that, by `own_id`, or any.
    pub(super) async fn store(
        &self,
        outputs: &Records<Outputs>,
        own_id: Option<String>,
    ) -> Result<Record, ApiError> {
        let key = IdempotencyKey::none();
        let provider_id = self.metadata.get("provider_id").and_then(Value::as_str).map(str::to_owned);
        let is_again = own_id.is_some();
        if let Some(id) = provider_id {
            match outputs.store(self.draft(Some(id)), &key).await {
                // Some servers of one's own count from one again, or draw from a thousand numbers.
                Err(ApiError::Conflict { .. }) => {}
                // What is stored once is another's; what may be stored again may be our own.
                Ok(StoredRecord { is_replayed: true, .. }) if !is_again => {}
                stored => return stored.map(|stored| stored.record),
            }
        }
        outputs.store(self.draft(own_id), &key).await.map(|stored| stored.record)
    }
}

pub(super) fn no_answer(model: &Model, error: &Error) -> ApiError {
    /// Where the provider does not say: long enough for most overloads to pass.
    const AFTER: std::time::Duration = std::time::Duration::from_secs(5);
    let retry_after = match error.disposition() {
        Disposition::Retry { after } => Some(after.unwrap_or(AFTER)),
        Disposition::Stop(_) => None,
    };
    let (kind, words) = (error.kind().as_str(), error.to_string());
    ApiError::NoOutput { model_id: model.id.clone(), kind, words, retry_after }
}
