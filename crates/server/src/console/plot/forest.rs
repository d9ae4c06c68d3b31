//! Values with their intervals, one a row.

use maud::{Markup, html};

use super::{super::text, at};

const WIDTH: f64 = 640.0;
const ROW: f64 = 24.0;
/// Where the axis begins and ends.
const LEFT: f64 = 230.0;
const RIGHT: f64 = 630.0;
const LABEL_CHARACTERS: usize = 27;

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Estimate {
    /// What is estimated.
    pub(in super::super) label: String,
    /// The value; none without measurements.
    pub(in super::super) value: Option<f64>,
    /// Its interval; none with too few measurements.
    pub(in super::super) interval: Option<(f64, f64)>,
    /// Number of measurements.
    pub(in super::super) n: u64,
}

/// `estimates`, a line at `reference` if there is one, and the table of their numbers.
pub(in super::super) fn forest((title, reference): (&str, Option<f64>), estimates: &[Estimate]) -> Markup {
    let ends = |estimate: &Estimate| {
        let (low, high) = estimate.interval.unwrap_or((f64::NAN, f64::NAN));
        [estimate.value.unwrap_or(f64::NAN), low, high]
    };
    // NaN is neither the smallest nor the largest.
    let all = || estimates.iter().flat_map(ends).chain(reference).filter(|number| number.is_finite());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let (low, high) = match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low - 0.5, low + 0.5),
        (true, true) => (low, high),
    };
    let x = |number: f64| LEFT + (number - low) / (high - low) * (RIGHT - LEFT);
    let bottom = ROW * estimates.len() as f64;
    let shown = |number: Option<f64>| number.map_or_else(|| "–".to_owned(), |number| format!("{number:.4}"));
    html! {
        figure {
            svg.forest viewBox={ "0 0 " (WIDTH) " " (bottom + 22.0) } role="img" {
                title { (title) }
                desc { (estimates.len()) " values with their intervals, from " (format!("{low:.3}")) " to " (format!("{high:.3}")) }
                line.axis x1=(LEFT) x2=(RIGHT) y1=(at(bottom)) y2=(at(bottom)) {}
                text.dim x=(LEFT) y=(at(bottom + 15.0)) { (format!("{low:.2}")) }
                text.dim x=(RIGHT) y=(at(bottom + 15.0)) text-anchor="end" { (format!("{high:.2}")) }
                @if let Some(reference) = reference {
                    line.target x1=(at(x(reference))) x2=(at(x(reference))) y1="0" y2=(at(bottom)) {}
                }
                @for (place, estimate) in estimates.iter().enumerate() {
                    @let middle = (place as f64 + 0.5) * ROW;
                    @let (label, is_whole) = text::beginning(&estimate.label, LABEL_CHARACTERS);
                    text x=(LEFT - 10.0) y=(at(middle + 4.0)) text-anchor="end" {
                        (text::plain(label)) @if !is_whole { "…" }
                    }
                    @if let Some((low, high)) = estimate.interval {
                        line.interval x1=(at(x(low))) x2=(at(x(high))) y1=(at(middle)) y2=(at(middle)) {}
                    }
                    @if let Some(value) = estimate.value {
                        circle.point cx=(at(x(value))) cy=(at(middle)) r="4" {}
                    }
                }
            }
            figcaption { (title) }
            (super::numbers(["", "value", "low", "high", "n"], estimates.iter().map(|estimate| [
                estimate.label.clone(),
                shown(estimate.value),
                shown(estimate.interval.map(|(low, _)| low)),
                shown(estimate.interval.map(|(_, high)| high)),
                estimate.n.to_string(),
            ])))
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn estimate(label: &str, value: Option<f64>, interval: Option<(f64, f64)>) -> Estimate {
        Estimate { label: label.to_owned(), value, interval, n: 3 }
    }

    #[test]
    fn forest_is_as_in_its_file() {
        let plot = forest(
            ("Difference", Some(0.0)),
            &[
                estimate("accuracy", Some(0.5), Some((-1.0, 2.0))),
                estimate("style <b>", Some(1.0), None),
                estimate("nothing", None, None),
            ],
        );
        expect_file!["golden/forest.svg"].assert_eq(&plot.into_string().replace("><", ">\n<"));
    }

    #[test]
    fn scale_is_finite_without_values() {
        for estimates in [&[][..], &[estimate("a", None, None)], &[estimate("a", Some(2.0), None)]] {
            let plot = forest(("Means", None), estimates).into_string();
            assert!(!plot.contains("NaN") && !plot.contains("inf"), "{plot}");
        }
    }
}
