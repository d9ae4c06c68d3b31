//! Parsing and classification of providers' errors.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;
use time::OffsetDateTime;

use super::{Disposition, Kind, Parameter, parameter, wait};
use crate::lenient;

/// Longer errors repeat the request.
const READ_BYTES: usize = 256 << 10;

/// Length of a provider's message, enough to understand it.
const MESSAGE_CHARS: usize = 500;

/// A provider's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status, or its equivalent for an error in a body of status 200.
    pub status: u16,
    /// Its classification.
    pub kind: Kind,
    /// The provider's message, truncated, without our key.
    pub message: String,
    /// The wait that it requests.
    pub wait: Option<Duration>,
    /// Parameters that it may reject, most likely first.
    pub refuses: Vec<Parameter>,
}

impl Rejection {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        if self.kind.is_transient() {
            Disposition::Retry { after: self.wait }
        } else {
            Disposition::Stop(self.kind)
        }
    }

    /// Parses a provider's error. `now` is the reference for dates in it.
    ///
    /// Bodies may be JSON in any provider's format, alone or in a list, possibly with further JSON in a string; or an
    /// HTML page; or empty.
    pub fn read(status: u16, headers: &HeaderMap, body: &[u8], now: OffsetDateTime) -> Self {
        let body = &body[..body.len().min(READ_BYTES)];
        let json = lenient::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
        let mut words = ErrorBody::default();
        words.gather(&json, None);
        let wait = wait::hint(headers, &words.nested, &words.all, now);
        let should_retry = headers.get("x-should-retry").and_then(|value| value.to_str().ok());
        let kind = kind(status, &words, wait.is_some());
        // Only OpenAI and Anthropic send it; it takes precedence over the table of statuses.
        let kind = match (should_retry, kind) {
            (Some("false"), Kind::RateLimited) => Kind::QuotaExhausted,
            (Some("true"), Kind::BadRequest) => Kind::ServerError,
            (_, kind) => kind,
        };
        let said = words.all.to_lowercase();
        // Some proxies use another status for it.
        let may_refuse = match kind {
            Kind::BadRequest => true,
            Kind::ServerError => parameter::is_unsupported(&words.codes, &said),
            Kind::Forbidden | Kind::NotFound if matches!(status, 403 | 404) => {
                parameter::is_unsupported(&words.codes, &said)
            }
            _ => false,
        };
        let refuses = match may_refuse {
            true => parameter::refused(status, &words.fields, &words.codes, &said),
            false => Vec::new(),
        };
        Self { status, kind, message: words.message(status), wait, refuses }
    }

    /// Parses an error that came with status 200, as in streams and from routers.
    pub(super) fn in_body(json: &Value, now: OffsetDateTime) -> Self {
        let mut words = ErrorBody::default();
        words.gather(json, None);
        let named = words.codes.iter().find_map(|code| match code.as_str() {
            "invalid_request_error" | "invalid_argument" => Some(400),
            "authentication_error" | "unauthenticated" => Some(401),
            "billing_error" => Some(402),
            "permission_error" | "permission_denied" => Some(403),
            "not_found_error" | "not_found" => Some(404),
            "request_too_large" => Some(413),
            "rate_limit_error" | "rate_limit_exceeded" | "resource_exhausted" => Some(429),
            "timeout_error" => Some(504),
            "overloaded_error" | "unavailable" => Some(529),
            code => code.parse().ok().filter(|status| (400..600).contains(status)),
        });
        // An unnamed error is a server error, since the request was accepted.
        let status = named.unwrap_or(500);
        Self::read(status, &HeaderMap::new(), json.to_string().as_bytes(), now)
    }
}

/// The relevant parts of an error's body.
#[derive(Default)]
struct ErrorBody {
    /// Values of `code`, `type`, `status`, `reason` and the like, in lower case.
    codes: Vec<String>,
    /// Values of `param`, `loc` and the like, and names of fields, in lower case.
    fields: Vec<String>,
    /// The innermost values of `message` and the like, usually one.
    messages: Vec<String>,
    /// All text, for patterns.
    all: String,
    /// The JSON, with JSON in strings parsed.
    nested: Value,
}

impl ErrorBody {
    fn gather(&mut self, json: &Value, key: Option<&str>) {
        match json {
            Value::Object(entries) => {
                for (key, value) in entries {
                    // `{"temperature": {"code": "…"}}`
                    if value.is_object() && Parameter::is_named(&key.to_lowercase()) {
                        self.fields.push(key.to_lowercase());
                    }
                    self.gather(value, Some(key));
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.gather(value, key)),
            Value::String(text) => {
                let inner = text.trim_start().starts_with(['{', '[']);
                match inner.then(|| lenient::from_str(text).ok()).flatten() {
                    Some(inner) => self.gather(&inner, key),
                    None => self.add(text, key),
                }
            }
            Value::Number(number) => {
                if matches!(key, Some("code" | "status" | "status_code")) {
                    self.codes.push(number.to_string());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
        if key.is_none() {
            self.nested = unfold(json);
        }
    }

    fn add(&mut self, text: &str, key: Option<&str>) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match key.map(str::to_lowercase).as_deref() {
            Some("code" | "type" | "status" | "reason" | "innererror" | "quotaid") => {
                self.codes.push(text.to_lowercase());
            }
            Some(
                "message" | "messages" | "error" | "errors" | "detail" | "details" | "raw" | "msg"
                | "error_message" | "errormessage" | "error_msg" | "errmsg" | "status_msg" | "description"
                | "error_description" | "title" | "info",
            )
            | None
                if !text.is_empty() =>
            {
                self.messages.push(text.clone());
            }
            Some(key) if names_field(key) => {
                self.fields.push(text.to_lowercase());
                return;
            }
            // `{"temperature": ["…"]}`
            Some(key) if Parameter::is_named(key) => {
                self.fields.push(key.to_owned());
                self.messages.push(format!("{key}: {text}"));
            }
            _ => return,
        }
        self.all.push_str(&text);
        self.all.push('\n');
    }

    fn message(&self, status: u16) -> String {
        let message = match &self.messages[..] {
            [] => format!("no explanation ({})", reason(status)),
            // Routers report `Provider returned error`, and add the provider's message.
            messages => messages.join(": "),
        };
        message.chars().take(MESSAGE_CHARS).collect()
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }

    fn says(&self, phrases: &[&str]) -> bool {
        let all = self.all.to_lowercase();
        phrases.iter().any(|phrase| all.contains(phrase))
    }
}

/// Whether the value of `key`, in lower case, is the name or path of a field.
fn names_field(key: &str) -> bool {
    matches!(key, "loc" | "location" | "key" | "keys" | "name" | "target" | "source")
        || ["param", "field", "argument", "propert", "attribut", "path", "pointer"]
            .iter()
            .any(|part| key.contains(part))
}

fn unfold(json: &Value) -> Value {
    match json {
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), unfold(value))).collect(),
        Value::Array(values) => values.iter().map(unfold).collect(),
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            lenient::from_str(text).map_or_else(|_| json.clone(), |inner| unfold(&inner))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json.clone(),
    }
}

fn reason(status: u16) -> &'static str {
    let status = reqwest::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("unknown status")
}

/// Error codes for missing credit or plans (platform.openai.com/docs/guides/error-codes and the errors recorded in
/// `../shared/data`).
const BILLING: [&str; 11] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "project_spend_limit_exceeded",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "access_terminated",
    "insufficient_balance",
    "insufficient_credits",
];

fn kind(status: u16, words: &ErrorBody, has_hint: bool) -> Kind {
    let billing = ["credit balance is too low", "insufficient balance", "insufficient credits"];
    if status == 402 || words.has_code(&BILLING) || words.says(&billing) {
        return Kind::QuotaExhausted;
    }
    let context_codes = ["context_length_exceeded", "exceed_context_size_error"];
    let context = [
        "maximum context length",
        "available context size",
        "prompt is too long",
        "exceeds the maximum number of tokens allowed",
        "exceeds the context window",
        "exceed context limit",
    ];
    if words.has_code(&context_codes) || (matches!(status, 400 | 413 | 422) && words.says(&context)) {
        return Kind::ContextTooLong;
    }
    let refused_codes = [
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "data_inspection_failed",
        "moderation_blocked",
    ];
    let refused = ["content management policy", "flagged by our moderation", "requires moderation"];
    if words.has_code(&refused_codes) || (matches!(status, 400 | 403) && words.says(&refused)) {
        return Kind::ContentRefused;
    }
    match status {
        // Google names the quota; an exhausted daily one counts as no quota, and its hint is not useful.
        429 if words.codes.iter().any(|code| code.contains("perday")) => Kind::QuotaExhausted,
        429 if words.says(&["request too large"]) && wait::in_words(&words.all).is_none() => {
            Kind::RequestTooLarge
        }
        // Google also uses this text for quotas per minute, but then adds a hint.
        429 if !has_hint && words.says(&["check your plan and billing"]) => Kind::QuotaExhausted,
        429 => Kind::RateLimited,
        503 if words.says(&["loading model", "currently loading", "model is loading"]) => Kind::Loading,
        // 498 is Groq's.
        498 | 503 | 529 => Kind::Overloaded,
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 | 410 => Kind::NotFound,
        408 => Kind::Timeout,
        // A conflict of two concurrent calls, and a call that is too early.
        409 | 425 => Kind::ServerError,
        413 => Kind::RequestTooLarge,
        // An unsupported operation will not be supported later.
        501 | 505 => Kind::BadRequest,
        400 if words.has_code(&["model_not_found"]) => Kind::NotFound,
        500..=599 => Kind::ServerError,
        _ => Kind::BadRequest,
    }
}
