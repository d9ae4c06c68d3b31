//! Calls to models, hosted or local, in three wire formats.
//!
//! Entry points: [`Provider::complete`] makes one call and nothing more; [`limits::Caller`] adds limits shared by all
//! callers of a model, retries and budgets.
//!
//! The clients are our own, based on reqwest. The crate `genai` (0.7.2) drops the provider's id of an answer for OpenAI
//! and Gemini, by which outputs are stored; it reads neither OpenAI's refusals nor Gemini's reason for blocking a
//! prompt, so that both look like empty answers; and it trims texts.

mod anthropic;
mod client;
mod ending;
mod error;
mod gemini;
mod kind;
pub mod limits;
mod response_body;

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

pub use client::Provider;
pub use error::Error;
pub use kind::{Disposition, Kind};
pub use parameter::{Parameter, Parameters};
pub use rejection::Rejection;
pub use response_body::ResponseReservation;
pub use shown::shown_url;

pub use crate::registry::Usage;

/// The wire format of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// `POST {base}/chat/completions`, the key as bearer: OpenAI, vLLM, llama.cpp, Ollama, LiteLLM, Groq, Mistral, ….
    OpenAi,
    /// As [`Wire::OpenAi`], with the key in `api-key`. The base URL contains the deployment, and `api-version` in its
    /// query.
    AzureOpenAi,
    /// `POST {base}/v1/messages`.
    Anthropic,
    /// `POST {base}/models/{model}:generateContent`.
    Gemini,
}

/// Whether the response is streamed. The completion is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Not streamed. Supported by every server.
    Whole,
    /// As server-sent events, so that a server that hangs is detected after [`ProviderConfig::silence_timeout`] while a
    /// long answer may take longer.
    Streamed,
}

/// A provider and how to reach it.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name in the registry, such as `openai`.
    pub name: String,
    /// The format of requests and responses.
    pub wire: Wire,
    /// Its base URL. A query is kept and added to each request.
    pub base_url: String,
    /// Not required by most self-hosted servers. Never logged, and removed from the provider's errors.
    pub key: Option<SecretString>,
    /// A custom TLS configuration; by default the system's roots are trusted, or those of `SSL_CERT_FILE`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Whether responses are streamed.
    pub transport: Transport,
    /// Timeout for connecting. If it is too short for a slow network, every call fails; if it is long, an unreachable
    /// server delays callers.
    pub connect_timeout: Duration,
    /// The longest time without data. Without streaming, it must exceed the model's thinking time.
    pub silence_timeout: Duration,
    /// Timeout from the request to the end of the response.
    pub answer_timeout: Duration,
}

/// A request to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// System instructions, separate from the prompt.
    pub system: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The provider's default if absent. Some models reject it: see [`crate::registry::Model`].
    pub temperature: Option<f64>,
    /// The longest answer, in tokens. Anthropic requires one; the default is 4,096. OpenAI's models that reject a
    /// temperature are reasoning models and count their reasoning among these tokens: no limit is sent to them.
    pub max_tokens: Option<u32>,
    /// For reproducible answers. Not sent to Anthropic, which does not support it.
    pub seed: Option<u32>,
    /// The format of the answer, a JSON schema of an object, for providers that enforce one. Other servers reject the
    /// request.
    pub json_schema: Option<Value>,
}

impl Request {
    /// A request with a prompt only.
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

    /// Instructions and prompt; joined if the server rejects separate instructions.
    fn instructed(&self, refused: Parameters) -> (Option<&str>, Cow<'_, str>) {
        match &self.system {
            Some(system) if refused.has(Parameter::System) => {
                (None, format!("{system}\n\n{}", self.prompt).into())
            }
            system => (system.as_deref(), (&self.prompt).into()),
        }
    }
}

/// The result of a call that the provider answered and charged.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The answer, or why it is missing.
    pub content: Content,
    /// The model's name in the response, which may include a version; the requested name if the provider gives none.
    pub model: String,
    /// The provider's id of the answer, such as `chatcmpl-…` or `msg_…`.
    pub provider_id: Option<String>,
    /// Why the answer ended, in the provider's term; empty if absent.
    pub finish_reason: String,
    /// The tokens used. Some servers do not report them.
    pub usage: Option<Usage>,
    /// From the request to the end of the response.
    pub latency: Duration,
    /// The memory reservation of the response.
    pub memory: ResponseReservation,
}

/// An answer, or why it is missing. Only [`Content::Text`] may be judged or parsed as a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A complete answer, unchanged, with at least one visible character.
    Text(String),
    /// The answer was truncated, at the token limit or by a failure.
    Truncated(String),
    /// The model declined, with its explanation if there is one.
    Refused(String),
    /// The provider's filter removed the answer completely or in part; the provider's term for the reason.
    Filtered(String),
    /// The model called tools, which were not offered; the text besides the calls, often empty.
    ToolCall(String),
    /// The answer ended normally and is empty.
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
    /// OpenAI itself; change `base_url` for any OpenAI-compatible server.
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

    /// A provider with the default timeouts, without streaming: reasoning models take minutes for an answer.
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
    /// The answer, if it is complete.
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
    /// An answer without a finish reason: complete, if it is not empty. A retry would return the same.
    ///
    /// # Errors
    /// When the answer is empty too.
    fn without_reason(text: String, expected: &'static str) -> Result<Self, Unreadable> {
        if text.trim().is_empty() { Err(Unreadable::Form(expected)) } else { Ok(Self::Text(text)) }
    }

    /// A complete text, unless it is empty.
    fn whole(text: String) -> Self {
        if text.trim().is_empty() { Self::Empty } else { Self::Text(text) }
    }
}

/// Whether a body of status 200 is valid, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn is_reply(wire: Wire, body: &[u8]) -> bool {
    client::read(wire, body).is_ok()
}

/// A completion without the parts that only the client knows.
#[derive(Debug)]
struct Reply {
    content: Content,
    model: Option<String>,
    provider_id: Option<String>,
    finish_reason: String,
    usage: Option<Usage>,
}

/// Why a body of status 200 is not a completion.
#[derive(Debug)]
enum Unreadable {
    /// It is an error.
    Error(Value),
    /// It ends before the answer does.
    Unfinished,
    /// It has another format; what was expected.
    Form(&'static str),
}

impl Usage {
    /// Sums of the counts at the paths `input` and `output`, where missing paths count as 0. None without the first
    /// path of each.
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
