//! A small line without axes.

use maud::{Markup, html};

use super::at;

const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

/// `values` in order of time, on a scale from their smallest to their largest; nothing for fewer than two.
pub(in super::super) fn sparkline(title: &str, values: &[f64]) -> Markup {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() < 2 {
        return html! {};
    }
    let span = if high > low { high - low } else { 1.0 };
    let step = WIDTH / (values.len() - 1) as f64;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(place, value)| {
            let y = HEIGHT - 2.0 - (value - low) / span * (HEIGHT - 4.0);
            format!("{},{}", at(place as f64 * step), at(y))
        })
        .collect();
    let described = format!("{} values between {low:.4} and {high:.4}", values.len());
    html! {
        svg.sparkline viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) role="img" {
            title { (title) }
            desc { (described) }
            polyline points=(points.join(" ")) fill="none" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_scaled_to_the_height() {
        let svg = sparkline("p95", &[1.0, 3.0, 2.0]).into_string();
        assert!(svg.contains("points=\"0,22 60,2 120,12\""), "{svg}");
        assert!(svg.contains("<title>p95</title><desc>3 values between 1.0000 and 3.0000</desc>"), "{svg}");
        let flat = sparkline("p95", &[1.0, 1.0]).into_string();
        assert!(flat.contains("points=\"0,22 120,22\""), "{flat}");
        assert_eq!(sparkline("p95", &[1.0]).into_string(), "");
    }
}
