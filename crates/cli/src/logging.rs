//! The log of a command: what it and the libraries report, on standard error.

use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Sends log lines of `level` and above to standard error, and spans to `traces`, whatever the level.
pub(crate) fn start(
    level: LevelFilter,
    format: Format,
    traces: Option<Box<dyn Layer<Registry> + Send + Sync>>,
) {
    tracing_subscriber::registry().with(traces).with(lines(format).with_filter(filter(level))).init();
}

/// HTTP clients tell of their connections by addresses with user and password in them: that much of them is never heard.
fn filter(level: LevelFilter) -> Targets {
    let quiet = level.min(LevelFilter::INFO);
    Targets::new()
        .with_default(level)
        .with_target("hyper", quiet)
        .with_target("reqwest", quiet)
        .with_target("opentelemetry", quiet)
}

fn lines<S: Subscriber + for<'s> LookupSpan<'s>>(format: Format) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        Format::Text => lines.boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    }
}

/// The format that `LOG_FORMAT` names.
pub(crate) fn format(name: &str) -> Option<Format> {
    match name {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// The level that the contract's `LOG_LEVEL` names; the old services' Python names count too.
pub(crate) fn level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_uppercase().as_str() {
        "CRITICAL" | "ERROR" => Some(LevelFilter::ERROR),
        "WARNING" | "WARN" => Some(LevelFilter::WARN),
        "INFO" => Some(LevelFilter::INFO),
        "DEBUG" => Some(LevelFilter::DEBUG),
        "TRACE" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn addresses_of_http_clients_are_logged_at_no_level() {
        let trace = filter(LevelFilter::TRACE);
        for target in ["hyper_util::client::legacy::pool", "reqwest::connect", "opentelemetry_otlp"] {
            assert!(!trace.would_enable(target, &Level::DEBUG) && trace.would_enable(target, &Level::WARN));
        }
        assert!(trace.would_enable("sqlx::query", &Level::TRACE));
        assert!(!filter(LevelFilter::ERROR).would_enable("hyper::proto", &Level::WARN));
    }
}
