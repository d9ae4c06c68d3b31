//! One call to a provider over HTTP.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use rustls::ClientConfig;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    Completion, Error, Parameter, Parameters, ProviderConfig, Rejection, Reply, Request, Transport,
    Unreadable, Wire, anthropic, gemini, openai,
    response_body::{ReceiveError, ResponseBody, ResponseMemory},
    shown::shown_url,
    sse,
};
use crate::lenient;

/// Enough to identify an unexpected response.
const START_CHARS: usize = 200;
/// Bytes from which they are taken.
const START_BYTES: usize = 4 << 10;

/// A provider that can be called. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Provider {
    config: Arc<ProviderConfig>,
    http: reqwest::Client,
    base: Url,
    /// The base URL without secrets.
    address: Arc<str>,
}

/// A response without its body.
struct ResponseHead {
    status: StatusCode,
    headers: HeaderMap,
    /// The requested model.
    model: String,
    latency: Duration,
}

impl Provider {
    /// Prepares for calls. Does not connect.
    ///
    /// # Errors
    /// [`Error::Setup`] when the base URL is invalid, the key contains characters that are invalid in a header, or the
    /// system has no root certificates for `https`.
    pub fn new(config: ProviderConfig) -> Result<Self, Error> {
        let setup = |reason, source| Error::Setup { provider: config.name.clone(), reason, source };
        let base = Url::parse(config.base_url.trim());
        let base = base.map_err(|source| setup("its base URL is invalid", Some(source.into())))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(setup("its base URL must begin with http:// or https://", None));
        }
        let has_user = !base.username().is_empty() || base.password().is_some();
        if has_user && config.key.is_some() {
            // The HTTP client converts them to its own `Authorization` header, which replaces ours.
            let reason = "its base URL has a user name or password, which would be sent instead of its key: remove one of them";
            return Err(setup(reason, None));
        }
        let tls = config.tls.as_deref().cloned().map_or_else(|| tls(&base), Ok);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("panopticon/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(&config).map_err(|source| {
                setup("its key contains characters that are invalid in an HTTP header", Some(source.into()))
            })?)
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.silence_timeout)
            .timeout(config.answer_timeout)
            // Following a redirect would send the key to another server.
            .redirect(Policy::none())
            .tls_backend_preconfigured(tls.map_err(|(reason, source)| setup(reason, source))?);
        if is_loopback(&base) {
            // A proxy cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|source| setup("failed to create an HTTP client", Some(source.into())))?;
        let address = shown_url(&base).unwrap_or_else(|| format!("{}://{}", base.scheme(), host(&base)));
        Ok(Self { config: Arc::new(config), http, base, address: address.into() })
    }

    /// Its name in the registry.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its wire format.
    pub fn wire(&self) -> Wire {
        self.config.wire
    }

    /// Sends `request` to `model`. Makes one attempt, immediately.
    ///
    /// # Errors
    /// When there is no response, or the provider responds with an error; [`Error::disposition`] says whether a retry
    /// may succeed. A refusal, a filtered, truncated or empty answer is not an error: see [`super::Content`].
    pub async fn complete(&self, model: &str, request: &Request) -> Result<Completion, Error> {
        self.complete_without(model, request, Parameters::default(), &ResponseMemory::new()).await
    }

    /// The same without the parameters that the model's server is known to reject, with the memory limit `room`.
    pub(super) async fn complete_without(
        &self,
        model: &str,
        request: &Request,
        refused: Parameters,
        memory: &ResponseMemory,
    ) -> Result<Completion, Error> {
        let begin = Instant::now();
        // One copy of the texts, while it is sent.
        let mut json = self.body(model, request, refused).to_string();
        json.shrink_to_fit();
        let builder = self.http.post(self.url(model, refused)).header(CONTENT_TYPE, "application/json");
        let response = builder.body(json).send().await;
        let mut response = response.map_err(|source| self.transport_error(source))?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = memory.receive(&mut response).await.map_err(|no_body| match no_body {
            ReceiveError::Transport(source) => self.transport_error(source),
            ReceiveError::TooLarge(expected) => Error::TooLarge { address: self.address(), expected },
            ReceiveError::MemoryExhausted => Error::MemoryExhausted { address: self.address() },
        })?;
        let (provider, model) = (self.clone(), model.to_owned());
        let arrived = ResponseHead { status, headers, model, latency: begin.elapsed() };
        memory.work_on(body, move |body| provider.read(arrived, &body)).await
    }

    fn read(&self, arrived: ResponseHead, body: &ResponseBody) -> Result<Completion, Error> {
        let ResponseHead { status, headers, model, latency } = arrived;
        let now = OffsetDateTime::now_utc();
        if !status.is_success() {
            return Err(self.rejected(Rejection::read(status.as_u16(), &headers, &body.bytes, now)));
        }
        let reply = read(self.config.wire, &body.bytes).map_err(|unreadable| match unreadable {
            Unreadable::Error(json) => self.rejected(Rejection::in_body(&json, now)),
            Unreadable::Unfinished => Error::Interrupted { address: self.address(), source: None },
            Unreadable::Form(expected) => self.malformed(expected, &body.bytes),
        })?;
        let Reply { content, model: answering, provider_id, finish_reason, usage } = reply;
        let (model, memory) = (answering.unwrap_or(model), body.memory.clone());
        Ok(Completion { content, model, provider_id, finish_reason, usage, latency, memory })
    }

    /// The parameters to omit from the next attempt, if `error` says that the server rejects one of this attempt, which
    /// was made without `refused`; none if another attempt would be the same.
    pub(super) fn more_to_omit(
        &self,
        (model, request): (&str, &Request),
        refused: Parameters,
        error: &Error,
    ) -> Option<Parameters> {
        let Error::Rejected { rejection, .. } = error else { return None };
        let sent = (self.url(model, refused), self.body(model, request, refused));
        let others = rejection.refuses.iter().map(|parameter| refused.with(*parameter));
        others
            .into_iter()
            .find(|refused| (self.url(model, *refused), self.body(model, request, *refused)) != sent)
    }

    fn body(&self, model: &str, request: &Request, refused: Parameters) -> Value {
        match self.config.wire {
            Wire::OpenAi | Wire::AzureOpenAi => openai::body(model, request, self.config.transport, refused),
            Wire::Anthropic => anthropic::body(model, request, self.config.transport, refused),
            Wire::Gemini => gemini::body(request, refused),
        }
    }

    fn url(&self, model: &str, refused: Parameters) -> Url {
        let mut url = self.base.clone();
        let is_streamed = self.config.transport == Transport::Streamed && !refused.has(Parameter::Stream);
        let mut segments = url.path_segments_mut().expect("an http URL has a path");
        segments.pop_if_empty();
        match self.config.wire {
            Wire::OpenAi | Wire::AzureOpenAi => segments.extend(openai::PATH),
            Wire::Anthropic => segments.extend(anthropic::PATH),
            Wire::Gemini => {
                let method = if is_streamed { "streamGenerateContent" } else { "generateContent" };
                // Google's own lists name models as `models/…`.
                let model = model.strip_prefix("models/").unwrap_or(model);
                segments.extend(["models", &format!("{model}:{method}")])
            }
        };
        drop(segments);
        if is_streamed && self.config.wire == Wire::Gemini {
            url.query_pairs_mut().append_pair("alt", "sse");
        }
        url
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    fn transport_error(&self, source: reqwest::Error) -> Error {
        // The URL may contain a password.
        let (address, source) = (self.address(), source.without_url());
        if source.is_connect() {
            Error::Connect { address, source }
        } else if source.is_timeout() {
            Error::Timeout { address, source }
        } else {
            Error::Interrupted { address, source: Some(source) }
        }
    }

    fn malformed(&self, expected: &'static str, body: &[u8]) -> Error {
        let text = String::from_utf8_lossy(&body[..body.len().min(START_BYTES)]);
        let start = text.trim_start().chars().take(START_CHARS).collect();
        Error::Malformed { address: self.address(), expected, start: self.without_key(start) }
    }

    fn rejected(&self, mut rejection: Rejection) -> Error {
        rejection.message = self.without_key(rejection.message);
        Error::Rejected { address: self.address(), rejection }
    }

    /// Some proxies repeat an unknown key in their error.
    fn without_key(&self, text: String) -> String {
        match &self.config.key {
            Some(key) if !key.expose_secret().is_empty() => text.replace(key.expose_secret(), "[key]"),
            _ => text,
        }
    }
}

/// Reads a body of status 200, complete or streamed: a server may ignore which was requested.
pub(super) fn read(wire: Wire, body: &[u8]) -> Result<Reply, Unreadable> {
    let text = String::from_utf8_lossy(body);
    let text = lenient::without_mark(&text);
    let whole = if text.starts_with("data:") || text.starts_with("event:") || text.starts_with(':') {
        let (events, is_done) = sse::values(text)?;
        fold(wire, &events, is_done)?
    } else {
        match lenient::from_str(text) {
            // Gemini's stream in the form of a list.
            Ok(Value::Array(pieces)) => fold(wire, &pieces, true)?,
            Ok(whole) => whole,
            Err(error) if error.is_eof() => return Err(Unreadable::Unfinished),
            // What follows a complete answer is no reason to pay for it again.
            Err(_) => only_answer(text)?,
        }
    };
    match wire {
        Wire::OpenAi | Wire::AzureOpenAi => openai::read(&whole),
        Wire::Anthropic => anthropic::read(&whole),
        Wire::Gemini => gemini::read(&whole),
    }
}

/// The answer at the beginning of a text that is not JSON as a whole, unless other answers or parts of it follow.
fn only_answer(text: &str) -> Result<Value, Unreadable> {
    let is_answer =
        |value: &Value| ["choices", "candidates", "content"].iter().any(|key| value.get(key).is_some());
    let mut values = lenient::leading_values(text).into_iter();
    match values.next().filter(is_answer) {
        Some(answer) if !values.any(|value| is_answer(&value)) => Ok(answer),
        _ => Err(Unreadable::Form("JSON")),
    }
}

/// `is_done` says whether a stream ended as OpenAI's do, or was a list; others mark their end in other ways.
fn fold(wire: Wire, pieces: &[Value], is_done: bool) -> Result<Value, Unreadable> {
    if pieces.is_empty() {
        return Err(Unreadable::Unfinished);
    }
    match wire {
        Wire::OpenAi | Wire::AzureOpenAi => openai::fold(pieces, is_done),
        Wire::Anthropic => anthropic::fold(pieces),
        Wire::Gemini => gemini::fold(pieces, is_done),
    }
}

fn headers(config: &ProviderConfig) -> Result<HeaderMap, reqwest::header::InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &config.key {
        let key = key.expose_secret();
        let (name, value) = match config.wire {
            Wire::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
            Wire::AzureOpenAi => (HeaderName::from_static("api-key"), key.to_owned()),
            Wire::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Wire::Gemini => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        };
        let mut value = HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if config.wire == Wire::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static(anthropic::VERSION));
    }
    Ok(headers)
}

fn host(url: &Url) -> &str {
    url.host_str().expect("the base URL has a host")
}

fn is_loopback(url: &Url) -> bool {
    let host = host(url).trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

type SetupReason = (&'static str, Option<Box<dyn std::error::Error + Send + Sync>>);

fn tls(url: &Url) -> Result<ClientConfig, SetupReason> {
    let mut certificates = Vec::new();
    if url.scheme() == "https" {
        certificates = store::tls::certificates()
            .map_err(|source| ("failed to load root certificates", Some(source.into())))?;
        if certificates.is_empty() {
            let reason = "the system has no root certificates (on Debian: apt install ca-certificates)";
            return Err((reason, None));
        }
    }
    store::tls::client_config(certificates).map_err(|source| ("failed to set up TLS", Some(source)))
}
