//! Points in a plane, each with a link, in groups with a shape and a colour each.

use maud::{Markup, html};

use super::{super::text, at};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 460.0;
const MARGIN: f64 = 12.0;
/// Space for the names of groups.
const LEGEND: f64 = 22.0;
const LEGEND_CHARACTERS: usize = 16;
/// Groups with a shape of their own; the others share one.
pub(in super::super) const MOST_GROUPS: usize = 4;

/// A point.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Spot {
    pub(in super::super) x: f64,
    pub(in super::super) y: f64,
    /// Its place among the groups; beyond them, it is one of the others.
    pub(in super::super) group: usize,
    /// What it is.
    pub(in super::super) label: String,
    /// Where a click leads.
    pub(in super::super) link: String,
}

/// `spots` on equal scales in both directions, and the table of their numbers.
pub(in super::super) fn scatter(
    (title, described): (&str, &str),
    groups: &[String],
    spots: &[Spot],
) -> Markup {
    let shown = || spots.iter().filter(|spot| spot.x.is_finite() && spot.y.is_finite());
    let ends = |value: fn(&Spot) -> f64| {
        let values = || shown().map(value);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let ((left, right), (low, high)) = (ends(|spot| spot.x), ends(|spot| spot.y));
    if !left.is_finite() || !low.is_finite() {
        return html! {};
    }
    let (width, height) = (WIDTH - 2.0 * MARGIN, HEIGHT - 2.0 * MARGIN);
    // Two points that are equal are in the middle.
    let scale = (width / (right - left)).min(height / (high - low));
    let scale = if scale.is_finite() { scale } else { 0.0 };
    let x = |value: f64| WIDTH / 2.0 + (value - f64::midpoint(left, right)) * scale;
    let y = |value: f64| LEGEND + HEIGHT / 2.0 - (value - f64::midpoint(low, high)) * scale;
    let step = (WIDTH - 2.0 * MARGIN) / (groups.len().min(MOST_GROUPS) + 1) as f64;
    let has_others = spots.iter().any(|spot| spot.group >= MOST_GROUPS);
    let name = |spot: &Spot| groups.get(spot.group).map_or("", String::as_str);
    html! {
        figure {
            svg.scatter viewBox={ "0 0 " (WIDTH) " " (HEIGHT + LEGEND) } role="group" aria-label=(title) {
                title { (title) }
                desc { (described) }
                @for (place, group) in groups.iter().take(MOST_GROUPS).enumerate() {
                    @let left = MARGIN + place as f64 * step;
                    @let (label, is_whole) = text::beginning(group, LEGEND_CHARACTERS);
                    (mark(place, (left + 4.0, 11.0)))
                    text.dim x=(at(left + 12.0)) y="15" { (text::plain(label)) @if !is_whole { "…" } }
                }
                @if has_others {
                    @let left = MARGIN + groups.len().min(MOST_GROUPS) as f64 * step;
                    (mark(MOST_GROUPS, (left + 4.0, 11.0)))
                    text.dim x=(at(left + 12.0)) y="15" { "others" }
                }
                @for spot in shown() {
                    a href=(spot.link) {
                        title { (text::plain(&spot.label)) }
                        (mark(spot.group.min(MOST_GROUPS), (x(spot.x), y(spot.y))))
                    }
                }
            }
            figcaption { (title) }
            details.numbers #numbers {
                summary { "Numbers" }
                table {
                    thead { tr { th scope="col" { "record" } th scope="col" { "group" } th.number scope="col" { "x" } th.number scope="col" { "y" } } }
                    tbody { @for spot in spots { tr {
                        td { a href=(spot.link) { (text::text(&spot.label)) } } td { (text::text(name(spot))) }
                        td.number { (format!("{:.4}", spot.x)) } td.number { (format!("{:.4}", spot.y)) }
                    } } }
                }
            }
        }
    }
}

/// The mark of a group.
fn mark(group: usize, (x, y): (f64, f64)) -> Markup {
    let path = |offsets: &[(f64, f64)]| {
        let corners: Vec<String> =
            offsets.iter().map(|(right, down)| format!("{},{}", at(x + right), at(y + down))).collect();
        corners.join(" ")
    };
    html! {
        @match group {
            0 => circle."spot-0" cx=(at(x)) cy=(at(y)) r="4" {},
            1 => rect."spot-1" x=(at(x - 3.5)) y=(at(y - 3.5)) width="7" height="7" {},
            2 => polygon."spot-2" points=(path(&[(0.0, -4.5), (4.5, 3.5), (-4.5, 3.5)])) {},
            3 => polygon."spot-3" points=(path(&[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)])) {},
            _ => circle."spot-4" cx=(at(x)) cy=(at(y)) r="3" {},
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn spot(x: f64, y: f64, group: usize, label: &str) -> Spot {
        Spot { x, y, group, label: label.to_owned(), link: format!("/record?id={group}") }
    }

    #[test]
    fn scatter_is_as_in_its_file() {
        let groups = ["physics", "a <b>", "law", "art", "others are not named"].map(str::to_owned);
        let spots = [
            spot(-2.0, 1.0, 0, "one <i>"),
            spot(2.0, -1.0, 1, "two \u{202e}"),
            spot(0.0, 0.5, 2, "three"),
            spot(1.0, 0.0, 3, "four"),
            spot(f64::NAN, 0.0, 3, "nowhere"),
            spot(0.0, 0.0, 4, "five"),
        ];
        let plot = scatter(("Records", "five points"), &groups, &spots);
        expect_file!["golden/scatter.svg"].assert_eq(&plot.into_string().replace("><", ">\n<"));
    }

    #[test]
    fn scale_is_finite_for_any_points() {
        for spots in [
            vec![],
            vec![spot(f64::NAN, 0.0, 0, "a")],
            vec![spot(1.0, 1.0, 9, "a")],
            vec![spot(1.0, 1.0, 0, "a"), spot(1.0, 1.0, 0, "b")],
            vec![spot(1.0, 1.0, 0, "a"), spot(1.0, 2.0, 0, "b")],
        ] {
            let plot = scatter(("any", "any"), &[], &spots).into_string();
            assert!(!plot.contains("=\"NaN") && !plot.contains("inf"), "{plot}");
        }
    }
}
