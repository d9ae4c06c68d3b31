//! Win rates as bars from 0 to 1, with their intervals.

use maud::{Markup, html};

use super::{super::text, Estimate, at};

const WIDTH: f64 = 640.0;
const ROW: f64 = 26.0;
/// Where the axis begins and ends.
const LEFT: f64 = 290.0;
const RIGHT: f64 = 580.0;
const LABEL_CHARACTERS: usize = 40;

/// A bar for each of `rates`, a line at one half, where neither side wins more often, and the table of the numbers.
pub(in super::super) fn win_rates(title: &str, rates: &[Estimate]) -> Markup {
    // Values outside the axis would be drawn outside the plot.
    let x = |rate: f64| LEFT + rate.clamp(0.0, 1.0) * (RIGHT - LEFT);
    let bottom = ROW * rates.len() as f64;
    let percent = |rate: f64| format!("{:.0} %", rate * 100.0);
    let shown = |number: Option<f64>| number.map_or_else(|| "–".to_owned(), |number| format!("{number:.4}"));
    html! {
        figure {
            svg.rates viewBox={ "0 0 " (WIDTH) " " (bottom + 22.0) } role="img" {
                title { (title) }
                desc { (rates.len()) " win rates with their intervals, from 0 to 100 %; the dashed line is at 50 %" }
                line.axis x1=(LEFT) x2=(RIGHT) y1=(at(bottom)) y2=(at(bottom)) {}
                @for rate in [0.0, 0.5, 1.0] {
                    text.dim x=(at(x(rate))) y=(at(bottom + 15.0)) text-anchor="middle" { (percent(rate)) }
                }
                @for (place, rate) in rates.iter().enumerate() {
                    @let top = place as f64 * ROW;
                    @let middle = top + ROW / 2.0;
                    @let (label, is_whole) = text::beginning(&rate.label, LABEL_CHARACTERS);
                    text x=(LEFT - 10.0) y=(at(middle + 4.0)) text-anchor="end" {
                        (text::plain(label)) @if !is_whole { "…" }
                    }
                    @if let Some(value) = rate.value.filter(|value| value.is_finite()) {
                        rect x=(LEFT) y=(at(top + 5.0)) width=(at((x(value) - LEFT).max(1.0))) height=(ROW - 10.0) fill-opacity="0.45" {}
                        text.count x=(RIGHT + 8.0) y=(at(middle + 4.0)) { (percent(value)) }
                    }
                    @if let Some((low, high)) = rate.interval.filter(|(low, high)| low.is_finite() && high.is_finite()) {
                        line.interval x1=(at(x(low))) x2=(at(x(high))) y1=(at(middle)) y2=(at(middle)) {}
                        @for end in [low, high] {
                            line.interval x1=(at(x(end))) x2=(at(x(end))) y1=(at(middle - 4.0)) y2=(at(middle + 4.0)) {}
                        }
                    }
                }
                line.target x1=(at(x(0.5))) x2=(at(x(0.5))) y1="0" y2=(at(bottom)) {}
            }
            figcaption { (title) }
            (super::numbers(["", "win rate", "low", "high", "queries"], rates.iter().map(|rate| [
                rate.label.clone(),
                shown(rate.value),
                shown(rate.interval.map(|(low, _)| low)),
                shown(rate.interval.map(|(_, high)| high)),
                rate.n.to_string(),
            ])))
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn rate(label: &str, value: Option<f64>, interval: Option<(f64, f64)>) -> Estimate {
        Estimate { label: label.to_owned(), value, interval, n: 12 }
    }

    #[test]
    fn win_rates_are_as_in_their_file() {
        let rates = [
            rate("a · b <i>", Some(0.625), Some((0.35, 0.85))),
            rate("a · c", Some(0.0), None),
            rate("b · c", None, None),
        ];
        let plot = win_rates("Win rate of the first model", &rates);
        expect_file!["golden/win_rates.svg"].assert_eq(&plot.into_string().replace("><", ">\n<"));
    }

    #[test]
    fn impossible_rates_stay_within_the_plot() {
        let odd = [rate("a", Some(f64::NAN), Some((f64::NAN, 1.0))), rate("b", Some(7.0), Some((-3.0, 9.0)))];
        let plot = win_rates("Rates", &odd).into_string();
        assert!(!plot.contains("x1=\"NaN") && plot.contains("x1=\"290\" x2=\"580\""), "{plot}");
    }
}
