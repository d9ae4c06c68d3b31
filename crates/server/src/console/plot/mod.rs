//! Plots as SVG, made from numbers in Rust. Each has a title and a description for those who do not see it, and the table
//! of its numbers.

mod bars;
mod calibration;
mod curve;
mod forest;
mod heat_map;
mod lines;
mod rates;
mod scatter;
mod sparkline;

use maud::{Markup, html};

pub(super) use self::{
    bars::{Bar, bars},
    calibration::{Calibrated, calibration},
    curve::{Tried, curve},
    forest::{Estimate, forest},
    heat_map::{Cell, heat_map},
    lines::{Line, Point, lines},
    rates::win_rates,
    scatter::{MOST_GROUPS, Spot, scatter},
    sparkline::sparkline,
};

/// A coordinate as SVG has it: a tenth of a unit is less than anyone sees.
fn at(coordinate: f64) -> String {
    let text = format!("{coordinate:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The numbers of a plot, one click away.
pub(super) fn numbers<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Markup {
    html! {
        details.numbers {
            summary { "Numbers" }
            table {
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody {
                    @for row in rows { tr { @for cell in row { td { (super::text::text(&cell)) } } } }
                }
            }
        }
    }
}
