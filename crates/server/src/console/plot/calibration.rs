//! What people say next to what a judge says.

use maud::{Markup, html};

use super::{super::text, at};

const SIZE: f64 = 260.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 220.0;
const TOP: f64 = 10.0;

/// Answers with similar scores of a judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Calibrated {
    /// The judge's score.
    pub(in super::super) judge: f64,
    /// People's.
    pub(in super::super) people: f64,
    /// Its interval.
    pub(in super::super) interval: Option<(f64, f64)>,
    /// Number of labels.
    pub(in super::super) labels: u64,
}

/// `points` on one scale for both, with the line on which a judge agrees with people, and the table of the numbers.
pub(in super::super) fn calibration(title: &str, points: &[Calibrated]) -> Markup {
    let ends = points.iter().flat_map(|point| {
        let (low, high) = point.interval.unwrap_or((point.people, point.people));
        [point.judge, point.people, low, high]
    });
    let all: Vec<f64> = ends.filter(|number| number.is_finite()).collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !low.is_finite() {
        return html! {};
    }
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let width = SIZE - LEFT;
    let x = |value: f64| LEFT + (value - low) / (high - low) * width;
    let y = |value: f64| BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP);
    let number = |value: f64| format!("{value:.2}");
    html! {
        figure.small {
            svg.calibration viewBox={ "0 0 " (SIZE + 20.0) " " (BOTTOM + 34.0) } role="img" {
                title { (title) }
                desc { (points.len()) " groups of answers; on the dashed line, people and the judge agree" }
                line.axis x1=(LEFT) x2=(SIZE) y1=(BOTTOM) y2=(BOTTOM) {}
                line.axis x1=(LEFT) x2=(LEFT) y1=(TOP) y2=(BOTTOM) {}
                line.target x1=(at(x(low))) x2=(at(x(high))) y1=(at(y(low))) y2=(at(y(high))) {}
                text.dim x=(LEFT) y=(BOTTOM + 15.0) { (number(low)) }
                text.dim x=(SIZE) y=(BOTTOM + 15.0) text-anchor="end" { (number(high)) }
                text.dim x=(f64::midpoint(LEFT, SIZE)) y=(BOTTOM + 28.0) text-anchor="middle" { "judge" }
                text.dim x=(LEFT - 6.0) y=(BOTTOM) text-anchor="end" { (number(low)) }
                text.dim x=(LEFT - 6.0) y=(TOP + 5.0) text-anchor="end" { (number(high)) }
                text.dim x=(LEFT - 6.0) y=(f64::midpoint(TOP, BOTTOM)) text-anchor="end" { "people" }
                @for point in points {
                    @if let Some((low, high)) = point.interval {
                        line.interval x1=(at(x(point.judge))) x2=(at(x(point.judge))) y1=(at(y(low))) y2=(at(y(high))) {}
                    }
                    circle.point cx=(at(x(point.judge))) cy=(at(y(point.people))) r="4" {}
                }
            }
            figcaption { (text::plain(title)) }
            (super::numbers(["judge", "people", "low", "high", "labels"], points.iter().map(|point| {
                let (low, high) = point.interval.unzip();
                let end = |end: Option<f64>| end.map_or_else(|| "–".to_owned(), number);
                [number(point.judge), number(point.people), end(low), end(high), point.labels.to_string()]
            })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_on_the_diagonal() {
        let point = |judge, people| Calibrated {
            judge,
            people,
            interval: Some((people - 1.0, people + 1.0)),
            labels: 3,
        };
        let svg = calibration("gpt-4 <b>", &[point(2.0, 2.0), point(8.0, 5.0)]).into_string();
        // From 1 to 8: two is a seventh of both axes.
        assert!(svg.contains("cx=\"85.1\" cy=\"190\""), "{svg}");
        assert!(!svg.contains("<b>") && svg.contains("x1=\"56\" x2=\"260\" y1=\"220\" y2=\"10\""), "{svg}");
        assert!(svg.contains("<td><bdi>8.00</bdi></td><td><bdi>5.00</bdi></td>"), "{svg}");
        assert_eq!(calibration("none", &[]).into_string(), "");
        let alone = Calibrated { judge: 3.0, people: 3.0, interval: None, labels: 1 };
        assert!(!calibration("one", &[alone]).into_string().contains("NaN"));
    }
}
