//! Horizontal bars.

use maud::{Markup, html};

use super::{super::text, at};

const WIDTH: f64 = 640.0;
const ROW: f64 = 22.0;
/// Where bars begin, and the space for their numbers.
const LABELS: f64 = 200.0;
const COUNTS: f64 = 80.0;
const LABEL_CHARACTERS: usize = 23;

/// A bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Bar {
    /// What it counts.
    pub(in super::super) label: String,
    /// Its length.
    pub(in super::super) count: u64,
    /// Where a click leads.
    pub(in super::super) link: Option<String>,
}

/// `bars`, and the table of their numbers.
pub(in super::super) fn bars((title, unit): (&str, &str), bars: &[Bar]) -> Markup {
    // Without bars, any length does.
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or_default().max(1);
    let height = ROW * bars.len() as f64;
    let length = |count: u64| count as f64 / most as f64 * (WIDTH - LABELS - COUNTS);
    html! {
        figure {
            svg.bars viewBox={ "0 0 " (WIDTH) " " (height) } role="group" aria-label=(title) {
                title { (title) }
                desc { (bars.len()) " bars, the longest of " (most) " " (unit) }
                @for (place, bar) in bars.iter().enumerate() {
                    @let top = place as f64 * ROW;
                    @let (label, is_whole) = text::beginning(&bar.label, LABEL_CHARACTERS);
                    a href=[bar.link.as_deref()] {
                        text x=(LABELS - 8.0) y=(at(top + 15.0)) text-anchor="end" {
                            (text::plain(label)) @if !is_whole { "…" }
                        }
                        rect x=(LABELS) y=(at(top + 3.0)) width=(at(length(bar.count).max(1.0))) height=(ROW - 6.0) {}
                        text.count x=(at(LABELS + length(bar.count) + 6.0)) y=(at(top + 15.0)) {
                            (text::count(bar.count))
                        }
                    }
                }
            }
            figcaption { (title) }
            (super::numbers([title, unit], bars.iter().map(|bar| [bar.label.clone(), bar.count.to_string()])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_bar_fills_the_width() {
        let bar = |label: &str, count| Bar { label: label.to_owned(), count, link: Some("/x".to_owned()) };
        let svg = bars(("Theme", "queries"), &[bar("physics", 10), bar("<b>", 5)]).into_string();
        assert!(svg.contains("width=\"360\"") && svg.contains("width=\"180\""), "{svg}");
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains("<td><bdi>physics</bdi></td><td><bdi>10</bdi></td>"), "{svg}");
    }
}
