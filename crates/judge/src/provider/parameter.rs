//! Parameters that a server may reject, and how it reports that.
//!
//! Only its server knows which parameters a model supports: names of deployments and routers do not identify the model
//! behind them. So the first call sends all of them, and rejected ones are omitted, or renamed, from then on.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU8, Ordering},
    },
};

use regex::Regex;

/// An optional part of a request, or one with an alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// The temperature.
    Temperature,
    /// The longest answer by its old name, which reasoning models reject.
    MaxTokens,
    /// The longest answer by its new name.
    MaxCompletionTokens,
    /// The seed.
    Seed,
    /// The JSON schema of the answer.
    JsonSchema,
    /// Usage reports in streams.
    StreamUsage,
    /// Streaming.
    Stream,
    /// System instructions; if rejected, they are put before the prompt.
    System,
}

/// A set of parameters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Parameters(u8);

/// The known parameters that a model's server rejects; shared by all its callers. Only grows.
#[derive(Debug, Default)]
pub(super) struct RejectedParameters(AtomicU8);

impl Parameter {
    const ALL: [Self; 8] = [
        Self::Temperature,
        Self::MaxTokens,
        Self::MaxCompletionTokens,
        Self::Seed,
        Self::JsonSchema,
        Self::StreamUsage,
        Self::Stream,
        Self::System,
    ];

    /// Its names on servers, in lower case.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Temperature => &["temperature", "temperatur", "température", "temperatura", "温度"],
            Self::MaxTokens => &["max_tokens", "max_output_tokens", "maxoutputtokens"],
            Self::MaxCompletionTokens => &["max_completion_tokens"],
            Self::Seed => &["seed"],
            Self::JsonSchema => &[
                "response_format",
                "json_schema",
                "json_object",
                "json mode",
                "json schema",
                "response_schema",
                "responseschema",
                "responsejsonschema",
                "response_json_schema",
                "response_mime_type",
                "responsemimetype",
                "response mime type",
                "output_format",
                "output_config",
                "structured output",
                "structured outputs",
                "structured_outputs",
                "guided_json",
                "grammar",
            ],
            Self::StreamUsage => &["stream_options", "include_usage"],
            Self::Stream => &["stream", "streaming"],
            Self::System => &[
                "messages[0].role",
                "messages.0.role",
                "system role",
                // Chat templates of models without a system role.
                "roles must alternate",
                "role 'system'",
                "role \"system\"",
                "system message",
                "system messages",
                "system prompt",
                "system instruction",
                "systeminstruction",
                "system_instruction",
                "developer instruction",
            ],
        }
    }

    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        self.names()[0]
    }

    /// Whether `name`, in lower case, is the name of a parameter.
    pub(super) fn is_named(name: &str) -> bool {
        Self::ALL.iter().any(|parameter| parameter.names().contains(&name))
    }

    /// Position of its first name in `text`, which is in lower case.
    fn place(self, text: &str) -> Option<usize> {
        // Other scripts may follow a name without a space.
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '\u{c0}'..='\u{24f}');
        let named = |name: &str| {
            let is_word = |(start, _): &(usize, &str)| {
                !text[..*start].ends_with(is_part) && !text[start + name.len()..].starts_with(is_part)
            };
            text.match_indices(name).find(is_word).map(|(start, _)| start)
        };
        self.names().iter().filter_map(|name| named(name)).min()
    }
}

impl Parameters {
    /// These and `parameter`.
    pub fn with(self, parameter: Parameter) -> Self {
        Self(self.0 | 1 << parameter as u8)
    }

    /// Whether `parameter` is one of them.
    pub fn has(self, parameter: Parameter) -> bool {
        self.0 & (1 << parameter as u8) != 0
    }
}

/// Their names.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let these = Parameter::ALL.into_iter().filter(|parameter| self.has(*parameter));
        f.debug_list().entries(these.map(Parameter::as_str)).finish()
    }
}

impl RejectedParameters {
    pub(super) fn parameters(&self) -> Parameters {
        Parameters(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn remember(&self, parameters: Parameters) {
        self.0.fetch_or(parameters.0, Ordering::Relaxed);
    }
}

/// Error codes for unsupported parameters.
const CODES: [&str; 5] =
    ["unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden", "unsupported"];

/// Phrases for unsupported parameters. A value out of range is invalid for every model, so the parameter is kept,
/// except for temperature 0, which some self-hosted servers exclude.
static UNSUPPORTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"unsupported|unavailable|unrecogni[sz]ed|deprecated|incompatible|extra_forbidden|additional propert|不支持|不允许|must alternate",
        r"|\b(?:has|have|had|was|were|is|are|been) (?:removed|disabled|disallowed|forbidden|fixed)\b|(?:disallowed|forbidden|illegal) (?:param|field|argument|propert|key)",
        r"|(?:param|field|argument|propert)\w* .{0,40}(?:does not|doesn't) exist|\b(?:no|lacks?|without) support\b|uses? fixed|unable to (?:use|set|specify)",
        r"|temperature\W.{0,60}(?:greater than or equal to|>=) (?:1|0?\.[0-9])",
        r"|\bnot (?:yet |currently |be |a |an )?(?:support|permit|allow|accept|recogni[sz]|enabled|available|implement|compatible|applicable)",
        r"|(?:n't|no longer) (?:support|accept|allow|permit)|(?:cannot|can't|can not|may not|must not) (?:be )?(?:used?|set|specif(?:y|ied)|combined?|given?)\b",
        r"|unexpected (?:keyword|argument|field|param|propert)|unknown (?:name|param|field|argument|propert|key)|cannot find field",
        r"|\bonly .{0,60}?(?:support|allow|accept|permit)|(?:may|can) only be|must be (?:set to )?(?:1|the default)\b",
        r"|strictly positive|greater than (?:0|zero)\b|must be positive|must be in \(0",
    ))
    .expect("a pattern")
});

/// Phrases for a requested length that is too large. The limit must be kept then: without it the answer could have any
/// length.
static LENGTH_TOO_LARGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"too (?:large|long|many|high|big)|exceed|at most|(?:less|greater|more|larger) than|maximum (?:value|allowed|number|of|output)|context (?:length|window|size)|up to [0-9]|out of range|(?:in|within) (?:the )?range|range (?:is |of )?[\[(]?[0-9]|between [0-9]|(?:in|within) [\[(][0-9]|[<>]=? ?[0-9]|\bonly .{0,60}?[0-9]{3}")
        .expect("a pattern")
});

/// Whether an error says explicitly that something is not supported.
pub(super) fn is_unsupported(codes: &[String], said: &str) -> bool {
    codes.iter().any(|code| CODES.contains(&code.as_str())) || UNSUPPORTED.is_match(said)
}

/// Phrases for a temperature that is too high, or negative. It is invalid for every model.
static TEMPERATURE_TOO_HIGH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"above (?:the )?max|too (?:large|high|big)|exceed|at most|(?:less|smaller|lower) than|<=? ?[0-9]|>= ?0(?:[^.0-9]|$)")
        .expect("a pattern")
});
/// Phrases for a temperature that may be too low: some servers reject 0.
static TEMPERATURE_TOO_LOW: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"greater|larger|above 0|> ?0|>= ?(?:0?\.|[1-9])|at least|positive|between")
        .expect("a pattern")
});

/// The parameters that an error response may reject, most likely first. `fields` are fields that the error names
/// separately, `codes` its codes, and `said` its text, all in lower case.
///
/// Servers reject parameters with any text in any language. If the status means an invalid request (400, 422) and a
/// parameter is named, the call is retried without it; other statuses must also say that it is not supported.
pub(super) fn refused(status: u16, fields: &[String], codes: &[String], said: &str) -> Vec<Parameter> {
    let is_unsupported = is_unsupported(codes, said);
    let fields = fields.join(" ");
    let named = |text: &str| {
        let places = Parameter::ALL.into_iter().filter_map(|one| Some((one.place(text)?, one)));
        let mut named: Vec<_> = places.collect();
        named.sort_by_key(|(place, _)| *place);
        named.into_iter().map(|(_, parameter)| parameter).collect::<Vec<_>>()
    };
    let mut refused = named(&fields);
    refused.extend(named(said));
    let is_wrong = matches!(status, 400 | 422);
    // There is no code for schemas, and problems with one are reported in many ways; none is the caller's fault.
    refused.retain(|parameter| is_unsupported || is_wrong || *parameter == Parameter::JsonSchema);
    let is_length_too_large = LENGTH_TOO_LARGE.is_match(said)
        && !codes.iter().any(|code| matches!(&code[..], "unsupported_parameter" | "unknown_parameter"));
    let is_temperature_too_high =
        !is_unsupported && TEMPERATURE_TOO_HIGH.is_match(said) && !TEMPERATURE_TOO_LOW.is_match(said);
    refused.retain(|parameter| match parameter {
        Parameter::MaxTokens | Parameter::MaxCompletionTokens => !is_length_too_large,
        Parameter::Temperature => !is_temperature_too_high,
        _ => true,
    });
    refused
}
