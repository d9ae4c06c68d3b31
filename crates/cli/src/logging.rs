//! The log on standard error.

use std::{borrow::Cow, error::Error, fmt::Debug};

use records::{cut_short, shortened};
use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    field::RecordFields,
    filter::{LevelFilter, Targets},
    fmt::{
        self, FmtContext, FormatEvent, FormatFields,
        format::{Json, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{output::visible, remedy, settings::table::Format};

/// Sends log lines of `level` and above to standard error, and spans of any level to `traces`.
pub(crate) fn start(
    level: LevelFilter,
    format: Format,
    traces: Option<Box<dyn Layer<Registry> + Send + Sync>>,
) {
    tracing_subscriber::registry().with(traces).with(lines(format).with_filter(filter(level))).init();
}

/// Debug messages of HTTP clients contain addresses with user and password, so they are never logged.
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
        Format::Text => lines.fmt_fields(Escaped).boxed(),
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            lines.map_event_format(Truncating).boxed()
        }
    }
}

/// Maximum characters of a field in a line. Longer fields repeat what a client sent.
const FIELD_CHARACTERS: usize = 4_000;

/// Bytes of a line of JSON that no field of which needs to be looked at.
const LINE_BYTES: usize = 8_000;

/// Lines of JSON whose texts are cut as those for people are.
struct Truncating(fmt::format::Format<Json>);

impl<S, N> FormatEvent<S, N> for Truncating
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        if line.len() > LINE_BYTES
            && let Ok(mut value) = serde_json::from_str(&line)
        {
            cut_texts(&mut value);
            line = format!("{value}\n");
        }
        writer.write_str(&line)
    }
}

fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(cut) = cut_short(text, FIELD_CHARACTERS) {
                *text = cut;
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(cut_texts),
        Value::Array(values) => values.iter_mut().for_each(cut_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Fields in tracing's own format, but each on one line, escaped and shortened: logged text may come from any client, and
/// a line break in it could forge a log line.
struct Escaped;

impl<'w> FormatFields<'w> for Escaped {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        let mut visitor = EscapedFields { writer, is_first: true, written: Ok(()) };
        fields.record(&mut visitor);
        visitor.written
    }
}

struct EscapedFields<'w> {
    writer: Writer<'w>,
    is_first: bool,
    written: std::fmt::Result,
}

impl EscapedFields<'_> {
    fn write(&mut self, field: &Field, text: &str) {
        // Repeated by the bridge from the `log` crate.
        if self.written.is_err() || field.name().starts_with("log.") {
            return;
        }
        let space = if self.is_first { "" } else { " " };
        self.is_first = false;
        let text = visible(&cut_short(text, FIELD_CHARACTERS));
        self.written = match field.name() {
            "message" => write!(self.writer, "{space}{text}"),
            name => write!(self.writer, "{space}{}={text}", name.strip_prefix("r#").unwrap_or(name)),
        };
    }
}

impl Visit for EscapedFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.write(field, value),
            _ => self.write(field, &format!("{:?}", shortened(value, FIELD_CHARACTERS))),
        }
    }

    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        // Most errors have no remedy on the command line.
        let mut chain = format!("{error}{}", remedy::of(error).unwrap_or_default());
        let mut cause = error.source();
        while let Some(error) = cause {
            chain.push_str(&format!(": {error}{}", remedy::of(error).unwrap_or_default()));
            cause = error.source();
        }
        self.write(field, &chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use anyhow::anyhow;
    use records::lock::Mutex;
    use tracing::Level;

    use super::*;

    #[test]
    fn addresses_of_http_clients_are_logged_at_no_level() {
        let trace = filter(LevelFilter::TRACE);
        for target in ["hyper_util::client::legacy::pool", "reqwest::connect", "opentelemetry_otlp"] {
            assert!(!trace.would_enable(target, &Level::DEBUG) && trace.would_enable(target, &Level::WARN));
        }
        assert!(trace.would_enable("sqlx::postgres", &Level::TRACE));
        assert!(!filter(LevelFilter::ERROR).would_enable("hyper::proto", &Level::WARN));
    }

    /// The written bytes, shared with the layer that writes them.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn logged_text_stays_on_its_line_and_is_shortened() {
        let written = Written::default();
        let writer = written.clone();
        let lines = fmt::layer().with_writer(move || writer.clone()).with_target(false).fmt_fields(Escaped);
        let forged = "x\n2026-01-01T00:00:00Z ERROR forged \u{1b}[2J\u{9b}1m\u{202e}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let span = tracing::info_span!("request", model.id = %forged, quoted = forged);
            let error = anyhow!("the cause: {forged}").context(forged);
            let error: &(dyn Error + 'static) = error.as_ref();
            span.in_scope(|| tracing::warn!(error, long = %"y".repeat(1 << 20), debug = ?forged, "{forged}"));
        });
        let bytes = written.0.lock().clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            !text.trim_end_matches('\n').contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{text:?}"
        );
        assert!(text.contains("the cause") && text.len() < 10_000, "{text}");
        assert!(text.contains("(cut: "), "{text}");
    }

    #[test]
    fn lines_of_json_are_cut_too_and_stay_json() {
        let written = Written::default();
        let writer = written.clone();
        let lines = fmt::layer().with_writer(move || writer.clone()).json().map_event_format(Truncating);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let long = "ü\"\n".repeat(1 << 16);
            tracing::info_span!("request", long).in_scope(|| {
                let error = anyhow!(long.clone());
                let error: &(dyn Error + 'static) = error.as_ref();
                tracing::warn!(error, shown = %long, number = 7, "{long}");
                tracing::warn!("short");
            });
        });
        let bytes = written.0.lock().clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert!(lines.len() == 2 && text.len() < 100_000, "{} bytes", text.len());
        let fields = &lines[0]["fields"];
        for cut in [&fields["message"], &fields["error"], &fields["shown"], &lines[0]["span"]["long"]] {
            assert!(cut.as_str().is_some_and(|text| text.contains("(cut: ")), "{cut}");
        }
        assert_eq!((&fields["number"], &lines[1]["fields"]["message"]), (&7.into(), &"short".into()));
    }
}
