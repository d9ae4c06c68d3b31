//! Built-in models: prices, context sizes, capabilities.
//!
//! Entry points: [`known`], [`find`], [`Model::guessed`] for unknown ids, [`Model::cost_usd`].

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

/// A model of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name at the provider.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// The provider's name, as in [`crate::provider::ProviderConfig`].
    pub provider: String,
    /// Whether it is suitable as a judge: of the file's models, all except each family's smallest.
    pub is_judge_compatible: bool,
    /// The longest prompt, in tokens, if known.
    pub context_tokens: Option<u64>,
    /// Whether the provider enforces a JSON schema.
    pub takes_schema: bool,
    /// Whether it supports a temperature; reasoning models reject it.
    pub takes_temperature: bool,
    /// Its price, if known. An unknown price is not zero.
    pub prices: Option<Prices>,
}

/// Prices in USD for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// For input tokens.
    pub input: f64,
    /// For output tokens.
    pub output: f64,
    /// Other prices, for the complete call, if the prompt exceeds a number of tokens.
    pub above: Option<LongPrompt>,
}

/// Prices in USD for a million tokens of calls with long prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongPrompt {
    /// Prompts with more tokens are long.
    pub input_tokens: u64,
    /// For input tokens.
    pub input: f64,
    /// For output tokens.
    pub output: f64,
}

/// Tokens of a call, as charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, including cached ones.
    pub input_tokens: u64,
    /// Output tokens, including reasoning.
    pub output_tokens: u64,
}

/// All models of the file.
pub fn known() -> &'static [Model] {
    &FILE.models
}

/// The day on which the file's prices were read, as `2026-11-23`.
pub fn prices_date() -> &'static str {
    &FILE.date
}

/// The source of the file's prices.
pub fn prices_source() -> &'static str {
    &FILE.source
}

/// The model of the file with this id.
pub fn find(id: &str) -> Option<&'static Model> {
    known().iter().find(|model| model.id == id)
}

/// The provider that an id's name suggests.
pub fn guess_provider(id: &str) -> Option<&'static str> {
    static OPENAI: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(?:gpt-|chatgpt-|o\d+(?:-|$))").expect("a pattern"));
    match id {
        id if OPENAI.is_match(id) => Some("openai"),
        id if id.starts_with("claude-") => Some("anthropic"),
        id if id.starts_with("gemini-") => Some("google"),
        _ => None,
    }
}

/// Whether `id` is one of OpenAI's reasoning models, with or without a vendor prefix.
pub fn thinks(id: &str) -> bool {
    static THINKING: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(?:o\d+(?:-|$)|gpt-(?:[5-9]|\d\d))").expect("a pattern"));
    let name = name(id);
    THINKING.is_match(name) && !name.contains("-chat")
}

/// The part after the last `/`, before which routers put the vendor.
fn name(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(_, name)| name)
}

impl Model {
    /// A model that is not in the file, of the provider that its id suggests; none if it suggests none.
    pub fn guessed(id: &str) -> Option<Self> {
        guess_provider(id).map(|provider| Self::unknown(id, provider))
    }

    /// A model of which only the provider is known: no prices. A schema and a temperature are sent to it, unless a
    /// model of the file has the same name without a vendor prefix. If its server rejects them, they are omitted from
    /// then on.
    pub fn unknown(id: &str, provider: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            provider: provider.to_owned(),
            is_judge_compatible: true,
            context_tokens: None,
            takes_schema: true,
            takes_temperature: find(name(id)).map_or(!thinks(id), |known| known.takes_temperature),
            prices: None,
        }
    }

    /// The cost of a call, in USD. None if prices or tokens are unknown.
    pub fn cost_usd(&self, usage: Option<Usage>) -> Option<f64> {
        let (prices, usage) = (self.prices?, usage?);
        let (input, output) = match prices.above {
            Some(above) if usage.input_tokens > above.input_tokens => (above.input, above.output),
            _ => (prices.input, prices.output),
        };
        Some((usage.input_tokens as f64 * input + usage.output_tokens as f64 * output) / 1e6)
    }
}

struct File {
    source: String,
    date: String,
    models: Vec<Model>,
}

static FILE: LazyLock<File> = LazyLock::new(|| {
    let file: FileRow =
        serde_json::from_str(include_str!("models.json")).expect("the file is as it should be");
    File { source: file.source, date: file.date, models: file.models.into_iter().map(model).collect() }
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    source: String,
    date: String,
    models: Vec<ModelRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRow {
    id: String,
    name: String,
    provider: String,
    judge: bool,
    context_tokens: Option<u64>,
    schema: bool,
    temperature: bool,
    usd_per_million: Option<PricesRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PricesRow {
    input: f64,
    output: f64,
    above: Option<LongPromptRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongPromptRow {
    input_tokens: u64,
    input: f64,
    output: f64,
}

fn model(row: ModelRow) -> Model {
    let prices = row.usd_per_million.map(|PricesRow { input, output, above }| {
        let above = above.map(|LongPromptRow { input_tokens, input, output }| LongPrompt {
            input_tokens,
            input,
            output,
        });
        Prices { input, output, above }
    });
    Model {
        id: row.id,
        name: row.name,
        provider: row.provider,
        is_judge_compatible: row.judge,
        context_tokens: row.context_tokens,
        takes_schema: row.schema,
        takes_temperature: row.temperature,
        prices,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn usage(input_tokens: u64, output_tokens: u64) -> Option<Usage> {
        Some(Usage { input_tokens, output_tokens })
    }

    #[test]
    fn every_model_of_the_file_has_a_provider_and_a_plausible_price() {
        let mut ids = HashSet::new();
        for model in known() {
            assert!(ids.insert(&model.id), "{} is there once", model.id);
            assert_eq!(guess_provider(&model.id), Some(&model.provider[..]), "{}", model.id);
            if let Some(prices) = model.prices {
                assert!(0.0 < prices.input && prices.input <= prices.output, "{}", model.id);
                assert!(prices.output < 1000.0, "{}: for a million tokens", model.id);
            }
            assert!(model.context_tokens.is_none_or(|tokens| tokens > 4000), "{}", model.id);
            if model.provider == "openai" {
                assert_eq!(model.takes_temperature, !thinks(&model.id), "{}", model.id);
            }
        }
        assert!(known().len() > 40);
        assert_eq!(prices_date().len(), 10);
        assert!(!prices_source().is_empty());
    }

    #[test]
    fn names_suggest_providers() {
        for (id, provider) in [
            ("gpt-4o-2024-08-06", Some("openai")),
            ("chatgpt-4o-latest", Some("openai")),
            ("o1", Some("openai")),
            ("o3-mini", Some("openai")),
            ("o4-mini", Some("openai")),
            ("claude-3-opus-20240229", Some("anthropic")),
            ("gemini-1.5-pro", Some("google")),
            ("olmo-2", None),
            ("o3x", None),
            ("llama-3-70b", None),
            ("my-gpt-4", None),
            ("", None),
        ] {
            assert_eq!(guess_provider(id), provider, "{id}");
            assert_eq!(Model::guessed(id).map(|model| model.provider).as_deref(), provider, "{id}");
        }
        assert!(!Model::guessed("o5-large").expect("OpenAI's").takes_temperature);
        assert!(!Model::unknown("anthropic/claude-opus-4-8", "openai").takes_temperature);
        assert!(!Model::unknown("router/anthropic/claude-opus-4-8", "openai").takes_temperature);
        assert!(Model::unknown("anthropic/claude-opus-4-5", "openai").takes_temperature);
        assert!(thinks("openai/gpt-5-mini") && !thinks("gpt-5-chat-latest") && !thinks("gpt-4o"));
    }

    #[test]
    fn cost_is_computed_from_tokens() {
        let gpt_4o = find("gpt-4o").expect("it is known");
        let cost = gpt_4o.cost_usd(usage(1000, 100)).expect("its price is known");
        assert!((cost - 0.0035).abs() < 1e-12, "2.50 and 10.00 USD a million: {cost}");
        assert_eq!(gpt_4o.cost_usd(None), None, "tokens unknown");
        assert_eq!(Model::unknown("llama", "local").cost_usd(usage(1, 1)), None, "price unknown");
        let long = find("gemini-3.1-pro-preview").expect("it is known");
        let cost = long.cost_usd(usage(200_001, 10)).expect("its price is known");
        assert!((cost - (200_001.0 * 4.0 + 10.0 * 18.0) / 1e6).abs() < 1e-12, "{cost}");
    }
}
