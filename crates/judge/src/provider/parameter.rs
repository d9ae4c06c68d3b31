//! Parameters that a server may refuse, and how it says so.
//!
//! Which model takes which is known to its server alone: names of deployments and routers say nothing about the model
//! behind them. So every call is made with all of them first, and what is refused is left out, or called by its other
//! name, from then on.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU8, Ordering},
    },
};

use regex::Regex;

/// A part of a request without which it can be sent, or which has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// The temperature.
    Temperature,
    /// The longest answer by its old name, which those that think do not take.
    MaxTokens,
    /// The longest answer by its new name.
    MaxCompletionTokens,
    /// The seed.
    Seed,
    /// The form of the answer.
    JsonSchema,
    /// That a stream is to say what was used.
    StreamUsage,
    /// That the answer is to come in pieces.
    Stream,
    /// Instructions apart from the prompt; refused, they go before it.
    System,
}

/// A set of parameters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Parameters(u8);

/// What the servers of one model refuse, as far as is known; shared by all its callers. Never grows smaller.
#[derive(Debug, Default)]
pub(super) struct Refused(AtomicU8);

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

    /// What servers call it, in lower case.
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
                // Templates of models that know no system.
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

    /// Whether `name`, in lower case, is the name of one.
    pub(super) fn is_named(name: &str) -> bool {
        Self::ALL.iter().any(|parameter| parameter.names().contains(&name))
    }

    /// Where `text`, in lower case, names it first.
    fn place(self, text: &str) -> Option<usize> {
        // Other scripts are written beside a name without a blank.
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

impl Refused {
    pub(super) fn parameters(&self) -> Parameters {
        Parameters(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn remember(&self, parameters: Parameters) {
        self.0.fetch_or(parameters.0, Ordering::Relaxed);
    }
}

/// Codes that say so.
const CODES: [&str; 5] =
    ["unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden", "unsupported"];

/// Words that say so. A value that is out of range is wrong for every model, and no reason to leave it out; but for the
/// temperature 0, which some servers of one's own exclude.
static SAYS_SO: LazyLock<Regex> = LazyLock::new(|| {
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

/// Words that say that the answer may not be as long as it was asked for, or that there is no room for it. That is no
/// reason to ask for one of any length.
static IS_TOO_MUCH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"too (?:large|long|many|high|big)|exceed|at most|(?:less|greater|more|larger) than|maximum (?:value|allowed|number|of|output)|context (?:length|window|size)|up to [0-9]|out of range|(?:in|within) (?:the )?range|range (?:is |of )?[\[(]?[0-9]|between [0-9]|(?:in|within) [\[(][0-9]|[<>]=? ?[0-9]|\bonly .{0,60}?[0-9]{3}")
        .expect("a pattern")
});

/// Whether an error says in so many words that something is not supported.
pub(super) fn says_so(codes: &[String], said: &str) -> bool {
    codes.iter().any(|code| CODES.contains(&code.as_str())) || SAYS_SO.is_match(said)
}

/// Words that say that a temperature is too high, or below 0. That is wrong for every model, and what was asked for.
static IS_NO_TEMPERATURE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"above (?:the )?max|too (?:large|high|big)|exceed|at most|(?:less|smaller|lower) than|<=? ?[0-9]|>= ?0(?:[^.0-9]|$)")
        .expect("a pattern")
});
/// That it may be too low as well: the temperature 0 is, for some servers.
static IS_TOO_LOW: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"greater|larger|above 0|> ?0|>= ?(?:0?\.|[1-9])|at least|positive|between")
        .expect("a pattern")
});

/// What a server that answers with an error may refuse, the likeliest first. `fields` are what the error names apart
/// from its words, `codes` its codes, and `said` its words, all in lower case.
///
/// Servers refuse a parameter in any words of any language. An answer that the request is wrong (400, 422) and names one
/// is reason enough for another call without it; any other has to say so too.
pub(super) fn refused(status: u16, fields: &[String], codes: &[String], said: &str) -> Vec<Parameter> {
    let says_so = says_so(codes, said);
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
    // There is no code for schemas, and what is wrong with one is said in many ways; none is the caller's fault.
    refused.retain(|parameter| says_so || is_wrong || *parameter == Parameter::JsonSchema);
    let is_too_much = IS_TOO_MUCH.is_match(said)
        && !codes.iter().any(|code| matches!(&code[..], "unsupported_parameter" | "unknown_parameter"));
    let is_no_temperature = !says_so && IS_NO_TEMPERATURE.is_match(said) && !IS_TOO_LOW.is_match(said);
    refused.retain(|parameter| match parameter {
        Parameter::MaxTokens | Parameter::MaxCompletionTokens => !is_too_much,
        Parameter::Temperature => !is_no_temperature,
        _ => true,
    });
    refused
}
