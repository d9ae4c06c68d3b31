//! Values by two names, as shades.

use maud::{Markup, html};

use super::{super::text, at};

const LEFT: f64 = 160.0;
const TOP: f64 = 24.0;
const CELL: f64 = 84.0;
const ROW: f64 = 26.0;
const LABEL_CHARACTERS: usize = 18;
const COLUMN_CHARACTERS: usize = 12;
/// Rows and columns at most: more are unreadable.
pub(in super::super) const MOST: usize = 12;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Cell {
    pub(in super::super) row: String,
    pub(in super::super) column: String,
    pub(in super::super) value: Option<f64>,
    /// Number of measurements.
    pub(in super::super) n: u64,
}

/// `cells` on a scale from the smallest to the largest value, and the table of the numbers. Rows and columns beyond [`MOST`]
/// are left out of the picture and named in the caption.
pub(in super::super) fn heat_map(title: &str, cells: &[Cell]) -> Markup {
    let names = |of: fn(&Cell) -> &String| {
        let mut names: Vec<&String> = cells.iter().map(of).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let (rows, columns) = (names(|cell| &cell.row), names(|cell| &cell.column));
    let left_out = rows.len().saturating_sub(MOST) + columns.len().saturating_sub(MOST);
    let (rows, columns) = (&rows[..rows.len().min(MOST)], &columns[..columns.len().min(MOST)]);
    let values = || cells.iter().filter_map(|cell| cell.value).filter(|value| value.is_finite());
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    let shade = |value: f64| match high > low {
        // Text on the darkest shade keeps a contrast of 4.5 in both colour schemes.
        true => 0.08 + 0.36 * (value - low) / (high - low),
        false => 0.26,
    };
    let place = |of: &[&String], name: &String| of.iter().position(|one| *one == name);
    let short = |name: &str, characters: usize| {
        let (shown, is_whole) = text::beginning(name, characters);
        format!("{}{}", text::plain(shown), if is_whole { "" } else { "…" })
    };
    html! {
        figure {
            svg.heat viewBox={ "0 0 " (LEFT + CELL * columns.len() as f64) " " (TOP + ROW * rows.len() as f64) } role="img" {
                title { (title) }
                desc { (rows.len()) " rows and " (columns.len()) " columns" @if low.is_finite() { ", from " (format!("{low:.2}")) " to " (format!("{high:.2}")) } }
                @for (number, column) in columns.iter().enumerate() {
                    text.dim x=(at(LEFT + CELL * (number as f64 + 0.5))) y=(TOP - 8.0) text-anchor="middle" { (short(column, COLUMN_CHARACTERS)) }
                }
                @for (number, row) in rows.iter().enumerate() {
                    text x=(LEFT - 8.0) y=(at(TOP + ROW * number as f64 + 17.0)) text-anchor="end" { (short(row, LABEL_CHARACTERS)) }
                }
                @for cell in cells {
                    @if let Some((row, column)) = place(rows, &cell.row).zip(place(columns, &cell.column)) {
                        @let (x, y) = (LEFT + CELL * column as f64, TOP + ROW * row as f64);
                        @match cell.value {
                            Some(value) => {
                                rect x=(at(x + 1.0)) y=(at(y + 1.0)) width=(CELL - 2.0) height=(ROW - 2.0) fill-opacity=(format!("{:.2}", shade(value))) {}
                                text x=(at(x + CELL / 2.0)) y=(at(y + 17.0)) text-anchor="middle" { (format!("{value:.2}")) }
                            }
                            None => text.dim x=(at(x + CELL / 2.0)) y=(at(y + 17.0)) text-anchor="middle" { "–" },
                        }
                    }
                }
            }
            figcaption { (text::plain(title)) @if left_out > 0 { "; " (left_out) " rows and columns are only among the numbers" } }
            (super::numbers(["model", "theme", "mean", "queries"], cells.iter().map(|cell| [
                cell.row.clone(),
                cell.column.clone(),
                cell.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}")),
                cell.n.to_string(),
            ])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(row: &str, column: &str, value: Option<f64>) -> Cell {
        Cell { row: row.to_owned(), column: column.to_owned(), value, n: 3 }
    }

    #[test]
    fn largest_value_has_the_darkest_cell() {
        let cells = [
            cell("a", "x", Some(2.0)),
            cell("a", "y", Some(6.0)),
            cell("<b>", "x", Some(4.0)),
            cell("<b>", "y", None),
        ];
        let svg = heat_map("Means", &cells).into_string();
        for part in [
            "fill-opacity=\"0.08\"",
            "fill-opacity=\"0.44\"",
            "fill-opacity=\"0.26\"",
            "2 rows and 2 columns, from 2.00 to 6.00",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("<b>") && svg.contains("<td><bdi>6.0000</bdi></td>"), "{svg}");
        let many: Vec<Cell> = (0..40).map(|n| cell(&n.to_string(), "x", Some(1.0))).collect();
        let svg = heat_map("Means", &many).into_string();
        assert!(svg.contains("28 rows and columns are only among the numbers"), "{svg}");
        assert!(!heat_map("Nothing", &[]).into_string().contains("inf"));
    }
}
