//! Values over time: lines with bands, and a reference.

use maud::{Markup, html};
use time::PrimitiveDateTime;

use super::{super::text, at};

const WIDTH: f64 = 640.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 150.0;
/// Where the axis of time begins and ends; the names of lines are to the right.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 560.0;
const LINE_HEIGHT: f64 = 13.0;

/// A value of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Point {
    pub(in super::super) at: PrimitiveDateTime,
    pub(in super::super) value: f64,
    /// Its interval.
    pub(in super::super) interval: Option<(f64, f64)>,
}

/// A line: points in order of time.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Line {
    pub(in super::super) name: String,
    pub(in super::super) points: Vec<Point>,
}

/// `lines`, a dashed line at `reference` if there is one, and the table of their numbers.
pub(in super::super) fn lines((title, reference): (&str, Option<f64>), lines: &[Line]) -> Markup {
    let points = || lines.iter().flat_map(|line| &line.points);
    let ends = points().flat_map(|point| {
        let (low, high) = point.interval.unwrap_or((point.value, point.value));
        [point.value, low, high]
    });
    let all: Vec<f64> = ends.chain(reference).filter(|number| number.is_finite()).collect();
    let (low, high) = range(&all);
    let first = points().map(|point| point.at).min();
    let last = points().map(|point| point.at).max();
    let (Some(first), Some(last)) = (first, last) else {
        return html! {};
    };
    let span = (last - first).as_seconds_f64();
    let x = |time: PrimitiveDateTime| match span > 0.0 {
        true => LEFT + (time - first).as_seconds_f64() / span * (RIGHT - LEFT),
        false => f64::midpoint(LEFT, RIGHT),
    };
    let y = |value: f64| BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP);
    let places = names(lines.iter().map(|line| line.points.last().map_or(BOTTOM, |point| y(point.value))));
    html! {
        figure {
            svg.lines viewBox={ "0 0 " (WIDTH) " " (BOTTOM + 24.0) } role="img" {
                title { (title) }
                desc { (lines.len()) " lines from " (text::moment(first)) " to " (text::moment(last)) ", between " (short(low)) " and " (short(high)) }
                line.axis x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
                line.axis x1=(LEFT) x2=(LEFT) y1=(TOP) y2=(BOTTOM) {}
                text.dim x=(LEFT - 6.0) y=(BOTTOM) text-anchor="end" { (short(low)) }
                text.dim x=(LEFT - 6.0) y=(TOP + 4.0) text-anchor="end" { (short(high)) }
                text.dim x=(LEFT) y=(BOTTOM + 16.0) { (text::moment(first)) }
                @if span > 0.0 { text.dim x=(RIGHT) y=(BOTTOM + 16.0) text-anchor="end" { (text::moment(last)) } }
                @if let Some(reference) = reference {
                    line.target x1=(LEFT) x2=(RIGHT) y1=(at(y(reference))) y2=(at(y(reference))) {}
                }
                @for (place, line) in lines.iter().enumerate() {
                    g class={ "line-" (place % 4) } {
                        @let banded: Vec<_> = line.points.iter().filter_map(|point| Some((point.at, point.interval?))).collect();
                        @if banded.len() > 1 {
                            polygon.band points=(corners(&banded, x, y)) {}
                        } @else { @for (time, (low, high)) in &banded {
                            line.interval x1=(at(x(*time))) x2=(at(x(*time))) y1=(at(y(*low))) y2=(at(y(*high))) {}
                        } }
                        @if line.points.len() > 1 {
                            polyline points=(path(&line.points, x, y)) fill="none" {}
                        } @else { @for point in &line.points {
                            circle.point cx=(at(x(point.at))) cy=(at(y(point.value))) r="3" {}
                        } }
                        @if let Some(place) = places.get(place).filter(|_| !line.points.is_empty()) {
                            text x=(RIGHT + 6.0) y=(at(*place + 4.0)) { (text::plain(&line.name)) }
                        }
                    }
                }
            }
            figcaption { (title) }
            (super::numbers(["time, UTC", "", "value", "low", "high"], lines.iter().flat_map(rows)))
        }
    }
}

fn rows(line: &Line) -> impl Iterator<Item = [String; 5]> {
    line.points.iter().map(|point| {
        let end = |end: Option<f64>| end.map_or_else(|| "–".to_owned(), short);
        let (low, high) = point.interval.unzip();
        [text::moment(point.at), line.name.clone(), short(point.value), end(low), end(high)]
    })
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The ends of an axis for `values`.
fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, true) => (low, high),
        // One value is in the middle.
        (true, false) => (low - 0.5, high + 0.5),
    }
}

fn path(points: &[Point], x: impl Fn(PrimitiveDateTime) -> f64, y: impl Fn(f64) -> f64) -> String {
    let points: Vec<String> =
        points.iter().map(|point| format!("{},{}", at(x(point.at)), at(y(point.value)))).collect();
    points.join(" ")
}

/// The outline of intervals: their upper ends, then their lower ones backwards.
fn corners(
    banded: &[(PrimitiveDateTime, (f64, f64))],
    x: impl Fn(PrimitiveDateTime) -> f64,
    y: impl Fn(f64) -> f64,
) -> String {
    let upper = banded.iter().map(|(time, (_, high))| (*time, *high));
    let lower = banded.iter().rev().map(|(time, (low, _))| (*time, *low));
    let corners: Vec<String> =
        upper.chain(lower).map(|(time, value)| format!("{},{}", at(x(time)), at(y(value)))).collect();
    corners.join(" ")
}

/// Where names are written whose lines end at `ends`, so that none covers another.
fn names(ends: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = ends.enumerate().collect();
    let mut places = vec![0.0; order.len()];
    order.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let mut next = f64::NEG_INFINITY;
    for (line, end) in order {
        places[line] = end.max(next);
        next = places[line] + LINE_HEIGHT;
    }
    places
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use time::macros::datetime;

    use super::*;

    fn line(name: &str, values: &[f64]) -> Line {
        let points = values.iter().enumerate().map(|(hour, value)| Point {
            at: datetime!(2026-01-31 12:00) + time::Duration::hours(hour as i64),
            value: *value,
            interval: (name == "recall").then_some((value - 0.1, value + 0.05)),
        });
        Line { name: name.to_owned(), points: points.collect() }
    }

    #[test]
    fn lines_are_as_in_their_file() {
        let plot =
            lines(("Recall <b>", Some(0.98)), &[line("recall", &[0.9, 0.8, 0.95]), line("other", &[0.94])]);
        expect_file!["golden/lines.svg"].assert_eq(&plot.into_string().replace("><", ">\n<"));
    }

    #[test]
    fn scale_is_finite_for_any_values() {
        for values in [&[][..], &[1.0], &[1.0, 1.0], &[f64::NAN, 2.0]] {
            let plot = lines(("Latency", None), &[line("p95", values)]).into_string();
            assert!(!plot.contains("inf"), "{plot}");
            assert!(values.iter().any(|value| value.is_nan()) || !plot.contains("NaN"), "{plot}");
        }
    }

    #[test]
    fn names_of_lines_that_end_together_are_below_each_other() {
        assert_eq!(names([50.0, 48.0, 100.0].into_iter()), [61.0, 48.0, 100.0]);
    }
}
