//! Calls to models, hosted or local, by the three wire formats that they speak.
//!
//! Entry points: [`Provider::complete`] makes one call and nothing more; [`limits::Caller`] adds what many calls need:
//! limits shared by all callers of a model, repeated attempts, budgets.
//!
//! The clients are our own, over reqwest. The crate `genai` (0.7.2) drops the id that the provider gave an answer for
//! OpenAI and Gemini, by which outputs are stored; it reads neither OpenAI's refusals nor the reason why Gemini blocked a
//! prompt, so that both look like empty answers; and it trims texts.

mod answers;
mod anthropic;
mod client;
mod ending;
mod error;
mod gemini;
mod kind;
pub mod limits;

mod openai;
mod parameter;
mod rejection;
mod shown;
mod sse;
mod wait;

use std::{borrow::Cow, sync::Arc, time::Duration};

use rustls::ClientConfig;
use secrecy::SecretString;
use serde_json::Value;

pub use answers::AnswerMemory;
pub use client::Provider;
pub use error::Error;
pub use kind::{Disposition, Kind};
pub use parameter::{Parameter, Parameters};
pub use rejection::Rejection;
pub use shown::shown_url;

pub use crate::registry::Usage;

/// The form in which a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// `POST {base}/chat/completions`, the key as bearer: OpenAI, vLLM, llama.cpp, Ollama, LiteLLM, Groq, Mistral, ….
    OpenAi,
    /// As [`Wire::OpenAi`], the key in `api-key`. The base URL names the deployment, and `api-version` in its query.
    AzureOpenAi,
    /// `POST {base}/v1/messages`.
    Anthropic,
    /// `POST {base}/models/{model}:generateContent`.
    Gemini,
}

/// Whether the answer comes whole or in pieces. The completion is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In one piece. Every server can.
    Whole,
    /// As server-sent events, so that a server that hangs is noticed after [`ProviderConfig::silence_timeout`] while
    /// one that writes a long answer may take its time.
    Streamed,
}

/// A provider and how to reach it.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// What the registry calls it, such as `openai`.
    pub name: String,
    /// The form of requests and answers.
    pub wire: Wire,
    /// Where it is. A query is kept and added to each request.
    pub base_url: String,
    /// Not needed by most servers of one's own. Never logged, and cut out of what the provider answers.
    pub key: Option<SecretString>,
    /// TLS of one's own; else the system's roots are trusted, or those of `SSL_CERT_FILE`.
    pub tls: Option<Arc<ClientConfig>>,
    /// How answers come.
    pub transport: Transport,
    /// Until there is a connection. Shorter than a slow network needs, every call fails; longer, an absent server
    /// holds callers up.
    pub connect_timeout: Duration,
    /// The longest time in which nothing arrives. It has to be longer than the model thinks, if the answer comes whole.
    pub silence_timeout: Duration,
    /// From the request to the end of the answer.
    pub answer_timeout: Duration,
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Instructions apart from the prompt.
    pub system: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The provider's own where there is none. Some models take none: see [`crate::registry::Model`].
    pub temperature: Option<f64>,
    /// The longest answer, in tokens. Anthropic requires one and gets 4,096 where there is none. OpenAI's models
    /// that refuse a temperature think, and count their thoughts among these tokens: no limit is sent to them.
    pub max_tokens: Option<u32>,
    /// For answers that can be repeated. Anthropic knows none and is sent none.
    pub seed: Option<u32>,
    /// The form of the answer, a JSON schema of an object, for providers that hold their models to one. A server that
    /// cannot refuses the request.
    pub json_schema: Option<Value>,
}

impl Request {
    /// A request with nothing but a prompt.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            system: None,
            prompt: prompt.into(),
            temperature: None,
            max_tokens: None,
            seed: None,
            json_schema: None,
        }
    }

    /// Instructions and prompt; in one where the instructions cannot stand apart.
    fn instructed(&self, refused: Parameters) -> (Option<&str>, Cow<'_, str>) {
        match &self.system {
            Some(system) if refused.has(Parameter::System) => {
                (None, format!("{system}\n\n{}", self.prompt).into())
            }
            system => (system.as_deref(), (&self.prompt).into()),
        }
    }
}

/// What came of a call that the provider answered and charged.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The answer, or why there is none.
    pub content: Content,
    /// The model as the provider calls it, which may name a version; as asked for where the provider does not say.
    pub model: String,
    /// The provider's id of the answer, such as `chatcmpl-…` or `msg_…`.
    pub provider_id: Option<String>,
    /// Why the answer ended, in the provider's word; empty if it did not say.
    pub finish_reason: String,
    /// What was used. Some servers do not say.
    pub usage: Option<Usage>,
    /// From the request to the end of the answer.
    pub latency: Duration,
    /// The memory that the answer has.
    pub memory: AnswerMemory,
}

/// An answer, or why it is none. Only [`Content::Text`] may be judged or taken for a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A whole answer, unchanged, with at least one character that can be seen.
    Text(String),
    /// The answer was cut off, at the token limit or by a failure.
    Truncated(String),
    /// The model declined, in its words if it gave any.
    Refused(String),
    /// The provider's filter kept the answer back or cut it off; the provider's word for the reason.
    Filtered(String),
    /// The model called tools, which it was not offered; the text beside the calls, often empty.
    ToolCall(String),
    /// The answer ended as it should, and there is nothing in it.
    Empty,
}

impl Wire {
    /// The name in settings and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure-openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

impl ProviderConfig {
    /// OpenAI itself; `base_url` may be changed for any server that speaks its API.
    pub fn openai(key: Option<SecretString>) -> Self {
        Self::new("openai", Wire::OpenAi, "https://api.openai.com/v1", key)
    }

    /// Anthropic.
    pub fn anthropic(key: Option<SecretString>) -> Self {
        Self::new("anthropic", Wire::Anthropic, "https://api.anthropic.com", key)
    }

    /// Google's Gemini API.
    pub fn google(key: Option<SecretString>) -> Self {
        Self::new("google", Wire::Gemini, "https://generativelanguage.googleapis.com/v1beta", key)
    }

    /// A provider with the usual time-outs, which answers whole: models that think take minutes for an answer.
    pub fn new(name: &str, wire: Wire, base_url: &str, key: Option<SecretString>) -> Self {
        Self {
            name: name.to_owned(),
            wire,
            base_url: base_url.to_owned(),
            key,
            tls: None,
            transport: Transport::Whole,
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(300),
            answer_timeout: Duration::from_secs(600),
        }
    }
}

impl Completion {
    /// The answer, if it is whole.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::Truncated(_)
            | Content::Refused(_)
            | Content::Filtered(_)
            | Content::ToolCall(_)
            | Content::Empty => None,
        }
    }
}

impl Content {
    /// An answer that came with no reason for its end: whole, if there is one. Asking again would bring the same.
    ///
    /// # Errors
    /// When there is no answer either.
    fn without_reason(text: String, expected: &'static str) -> Result<Self, Unreadable> {
        if text.trim().is_empty() { Err(Unreadable::Form(expected)) } else { Ok(Self::Text(text)) }
    }

    /// A whole text, unless there is nothing in it.
    fn whole(text: String) -> Self {
        if text.trim().is_empty() { Self::Empty } else { Self::Text(text) }
    }
}

/// Whether a body of status 200 can be read, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn is_reply(wire: Wire, body: &[u8]) -> bool {
    client::read(wire, body).is_ok()
}

/// A completion but for what only the client knows.
#[derive(Debug)]
struct Reply {
    content: Content,
    model: Option<String>,
    provider_id: Option<String>,
    finish_reason: String,
    usage: Option<Usage>,
}

/// Why a body of status 200 is no reply.
#[derive(Debug)]
enum Unreadable {
    /// It is an error all the same.
    Error(Value),
    /// It ends before the answer does.
    Unfinished,
    /// It has another form; what was expected.
    Form(&'static str),
}

impl Usage {
    /// Sums of the counts at `input` and `output`, paths of which those that are absent count nothing. None without the
    /// first of each.
    fn read(usage: &Value, input: &[&str], output: &[&str]) -> Option<Self> {
        let sum = |paths: &[&str]| {
            usage.pointer(paths.first()?).filter(|count| count.is_u64())?;
            let counts = paths.iter().filter_map(|path| usage.pointer(path)?.as_u64());
            Some(counts.fold(0, u64::saturating_add))
        };
        Some(Self { input_tokens: sum(input)?, output_tokens: sum(output)? })
    }
}

fn owned(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
