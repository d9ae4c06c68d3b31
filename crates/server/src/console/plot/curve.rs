//! Recall against latency: what a search parameter gives, and what it costs.

use maud::{Markup, html};

use super::{super::text, at};

const WIDTH: f64 = 420.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 400.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 180.0;

/// A parameter that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Tried {
    /// `ivfflat.probes` or `hnsw.ef_search`.
    pub(in super::super) candidates: u32,
    pub(in super::super) latency_ms: f64,
    pub(in super::super) recall: f64,
    /// The end of its interval.
    pub(in super::super) recall_low: f64,
    /// Number of searches.
    pub(in super::super) sampled: u32,
    /// Whether searches use it.
    pub(in super::super) is_chosen: bool,
}

/// `tried` in order of candidates as a line from fast to exact, a dashed line at `target`, and the table of the numbers.
pub(in super::super) fn curve((title, target): (&str, f64), tried: &[Tried]) -> Markup {
    let number = |value: f64| format!("{value:.3}");
    let milliseconds = |value: f64| format!("{value:.2}");
    let is_finite = |one: &&Tried| [one.latency_ms, one.recall, one.recall_low].iter().all(|n| n.is_finite());
    let shown: Vec<&Tried> = tried.iter().filter(is_finite).collect();
    if shown.is_empty() {
        return html! {};
    }
    let recalls = shown.iter().flat_map(|one| [one.recall, one.recall_low]).chain([target]);
    let low = recalls.filter(|recall| recall.is_finite()).fold(1.0_f64, f64::min);
    // The axis ends at 1, the most that a search can find.
    let low = if low < 1.0 { low } else { 0.0 };
    let slowest = shown.iter().map(|one| one.latency_ms).fold(0.0_f64, f64::max);
    let slowest = if slowest > 0.0 { slowest } else { 1.0 };
    let x = |latency: f64| LEFT + latency / slowest * (RIGHT - LEFT);
    let y = |recall: f64| BOTTOM - (recall.min(1.0) - low) / (1.0 - low) * (BOTTOM - TOP);
    let line: Vec<String> =
        shown.iter().map(|one| format!("{},{}", at(x(one.latency_ms)), at(y(one.recall)))).collect();
    html! {
        figure.small {
            svg.curve viewBox={ "0 0 " (WIDTH) " " (BOTTOM + 34.0) } role="img" {
                title { (title) }
                desc { (shown.len()) " search parameters: recall from " (number(low)) " to 1, latency up to " (milliseconds(slowest)) " ms; the dashed line is the target" }
                line.axis x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
                line.axis x1=(LEFT) x2=(LEFT) y1=(TOP) y2=(BOTTOM) {}
                text.dim x=(LEFT - 6.0) y=(BOTTOM) text-anchor="end" { (number(low)) }
                text.dim x=(LEFT - 6.0) y=(TOP + 5.0) text-anchor="end" { "1" }
                text.dim x=(LEFT) y=(BOTTOM + 15.0) { "0" }
                text.dim x=(RIGHT) y=(BOTTOM + 15.0) text-anchor="end" { (milliseconds(slowest)) " ms" }
                text.dim x=(f64::midpoint(LEFT, RIGHT)) y=(BOTTOM + 28.0) text-anchor="middle" { "median latency" }
                text.dim x=(LEFT + 4.0) y=(TOP - 3.0) { "recall" }
                line.target x1=(LEFT) x2=(RIGHT) y1=(at(y(target))) y2=(at(y(target))) {}
                @if shown.len() > 1 { polyline points=(line.join(" ")) fill="none" {} }
                @for one in &shown {
                    line.interval x1=(at(x(one.latency_ms))) x2=(at(x(one.latency_ms))) y1=(at(y(one.recall))) y2=(at(y(one.recall_low))) {}
                    circle.point.chosen[one.is_chosen] cx=(at(x(one.latency_ms))) cy=(at(y(one.recall))) r=(if one.is_chosen { "5" } else { "3" }) {}
                }
            }
            figcaption { (text::plain(title)) }
            (super::numbers(["candidates", "recall", "at least", "ms", "searches", ""], tried.iter().map(|one| [
                one.candidates.to_string(),
                number(one.recall),
                number(one.recall_low),
                milliseconds(one.latency_ms),
                one.sampled.to_string(),
                if one.is_chosen { "chosen".to_owned() } else { String::new() },
            ])))
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn tried(candidates: u32, latency_ms: f64, recall: f64, is_chosen: bool) -> Tried {
        Tried { candidates, latency_ms, recall, recall_low: recall - 0.02, sampled: 40, is_chosen }
    }

    #[test]
    fn curve_is_as_in_its_file() {
        let all = [tried(10, 0.5, 0.8, false), tried(40, 1.0, 0.99, true), tried(160, 4.0, 1.0, false)];
        let plot = curve(("10 results <b>", 0.98), &all);
        expect_file!["golden/curve.svg"].assert_eq(&plot.into_string().replace("><", ">\n<"));
    }

    #[test]
    fn scale_is_finite_for_any_values() {
        for all in [
            &[][..],
            &[tried(1, 0.0, 1.0, true)],
            &[tried(1, f64::NAN, 1.0, true)],
            &[Tried { recall_low: 1.0, ..tried(1, 2.0, 1.0, true) }],
        ] {
            let plot = curve(("any", 1.0), all).into_string();
            assert!(!plot.contains("=\"NaN") && !plot.contains("inf"), "{plot}");
        }
    }
}
