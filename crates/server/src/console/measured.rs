//! Measurements and their absence, as pages of results show them.

use judge::{
    outcome::Counts,
    statistics::{Bin, Interval, share_interval},
};
use maud::{Markup, html};
use serde::Serialize;

use super::{
    plot::{Bar, bars},
    text,
};

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

/// Numbers of scores between two bounds.
#[derive(Debug, Serialize)]
pub(super) struct BinResponse {
    low: f64,
    high: f64,
    count: u64,
}

impl BinResponse {
    /// Those of a histogram.
    pub(super) fn all(bins: Vec<Bin>) -> Vec<Self> {
        bins.into_iter().map(|Bin { low, high, count }| Self { low, high, count }).collect()
    }

    /// `bins` as bars; nothing without scores.
    pub(super) fn plot(title: &str, bins: &[Self]) -> Markup {
        let bar = |bin: &Self| Bar {
            label: if bin.low == bin.high {
                format!("{}", bin.low)
            } else {
                format!("{:.2} to {:.2}", bin.low, bin.high)
            },
            count: bin.count,
            link: None,
        };
        let shown: Vec<Bar> = bins.iter().map(bar).collect();
        html! { @if !shown.is_empty() { (bars((title, "judgements"), &shown)) } }
    }
}

/// A share, with its interval by Wilson.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Share {
    pub(super) part: u64,
    pub(super) whole: u64,
    /// Null of nothing.
    pub(super) share: Option<f64>,
    pub(super) interval: Option<Interval>,
}

impl Share {
    pub(super) fn of(part: u64, whole: u64) -> Self {
        let share = (whole > 0).then(|| part as f64 / whole as f64);
        Self { part, whole, share, interval: share_interval(part, whole) }
    }

    pub(super) fn shown(self) -> Markup {
        match self.share {
            None => html! { "–" },
            Some(share) => html! {
                (format!("{:.1} %", share * 100.0))
                br;
                span.note.nowrap {
                    @if let Some(Interval { low, high }) = self.interval { (format!("{:.1} to {:.1} %, ", low * 100.0, high * 100.0)) }
                    (text::count(self.part)) " of " (text::count(self.whole))
                }
            },
        }
    }
}
