//! Measurements and their absence, as pages of results show them.

use judge::{outcome::Counts, statistics::Interval};
use maud::{Markup, html};

use super::text;

/// A name that results may lack.
pub(super) fn named(name: Option<&String>) -> Markup {
    match name {
        Some(name) => text::text(name),
        None => html! { span.note { "unknown" } },
    }
}

/// A number, or a dash where nothing was measured.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

/// An interval, or a dash.
pub(super) fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(|| "–".to_owned(), |Interval { low, high }| format!("{low:.3} to {high:.3}"))
}

/// Judgements without a measurement, by reason.
pub(super) fn left_out(Counts { scored: _, unparsed, refused, failed, unanswered }: Counts) -> String {
    by_reason([unparsed, refused, failed, unanswered])
}

/// Counts of what is unparsed, refused, failed and unanswered.
pub(super) fn by_reason([unparsed, refused, failed, unanswered]: [u64; 4]) -> String {
    let reasons =
        [(unparsed, "unparsed"), (refused, "refused"), (failed, "failed"), (unanswered, "unanswered")];
    let named: Vec<String> = reasons
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{} {reason}", text::count(count)))
        .collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}
