//! Plots of the report, as SVG.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::{prelude::*, style::RGBColor};
use serde_json::Value;

const SIZE: (u32, u32) = (760, 460);
const FONT: &str = "sans-serif";
/// Colours safe for colour-blind readers (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
];

/// A contestant and its points.
type Line = (&'static str, Vec<(f64, f64)>);

/// Recall against latency for the largest table, latency against the number of rows, and latency under filters.
pub(super) fn plots(report: &Value, folder: &Path) -> Result<()> {
    let sizes = report["sizes"].as_array().context("no sizes")?;
    let largest = sizes.last().context("no size")?;
    let rows = largest["rows"].as_u64().context("no rows")?;
    let contestants = [
        ("store", "our store"),
        ("http_vector", "our service"),
        ("chroma", "Chroma 1.5.9"),
        ("ivfflat", "our store, IVFFLAT"),
    ];
    let points = |size: &Value, name: &str| -> Vec<(f64, f64)> {
        size["unfiltered"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|point| point["contestant"] == name && point["clients"] == 1)
            .filter_map(|point| Some((point["recall"].as_f64()?, point["p50_ms"].as_f64()?)))
            .collect()
    };
    let by_recall: Vec<Line> =
        contestants.iter().map(|(name, label)| (*label, points(largest, name))).collect();
    draw(
        &folder.join("recall.svg"),
        &format!("Ten nearest of {rows} sentences, one client"),
        "recall@10",
        "median latency, ms",
        &by_recall,
        false,
    )?;
    let at_target = |name: &str| -> Vec<(f64, f64)> {
        sizes
            .iter()
            .filter_map(|size| {
                let points = size["unfiltered"].as_array()?;
                let point = points.iter().find(|point| {
                    point["contestant"] == name && point["clients"] == 1 && point["target"] == 0.98
                })?;
                Some((size["rows"].as_f64()?, point["p50_ms"].as_f64()?))
            })
            .collect()
    };
    let by_rows: Vec<Line> = contestants.iter().map(|(name, label)| (*label, at_target(name))).collect();
    draw(
        &folder.join("rows.svg"),
        "Ten nearest at a recall of 0.98, one client",
        "rows",
        "median latency, ms",
        &by_rows,
        true,
    )?;
    let filtered = |name: &str| -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = largest["filtered"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|point| point["contestant"] == name)
            .filter_map(|point| {
                Some((100.0 * point["matching"].as_f64()? / rows as f64, point["p50_ms"].as_f64()?))
            })
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points
    };
    let by_filter: Vec<Line> = [("store", "our store"), ("chroma", "Chroma 1.5.9")]
        .into_iter()
        .map(|(name, label)| (label, filtered(name)))
        .collect();
    draw(
        &folder.join("filters.svg"),
        &format!("Ten nearest of {rows} sentences under filters, one client"),
        "matching rows, %",
        "median latency, ms",
        &by_filter,
        true,
    )
}

/// A plot with a logarithmic axis of latencies, and one of `x` if `is_log`.
fn draw(path: &Path, title: &str, x: &str, y: &str, lines: &[Line], is_log: bool) -> Result<()> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let range = |part: fn(&(f64, f64)) -> f64| {
        all().map(part).fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    };
    let ((left, right), (bottom, top)) = (range(|point| point.0), range(|point| point.1));
    if left > right {
        // No contestant has points.
        return Ok(());
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let mut builder = ChartBuilder::on(&root);
    builder.caption(title, (FONT, 18)).margin(14).x_label_area_size(42).y_label_area_size(60);
    let heights = (bottom / 1.5..top * 1.5).log_scale();
    macro_rules! finish {
        ($chart:expr) => {{
            let mut chart = $chart.map_err(failed)?;
            let label = |value: &f64| {
                if *value >= 1_000.0 { format!("{:.0}k", value / 1e3) } else { format!("{value}") }
            };
            let x_label = |value: &f64| if is_log { label(value) } else { format!("{value:.3}") };
            chart
                .configure_mesh()
                .x_desc(x)
                .y_desc(y)
                .x_label_formatter(&x_label)
                .y_label_formatter(&label)
                .light_line_style(WHITE)
                .draw()
                .map_err(failed)?;
            for ((label, points), colour) in
                lines.iter().zip(COLOURS).filter(|((_, points), _)| !points.is_empty())
            {
                let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(4);
                let drawn = chart.draw_series(series).map_err(failed)?;
                drawn
                    .label(*label)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
            }
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()
                .map_err(failed)?;
        }};
    }
    if is_log {
        finish!(builder.build_cartesian_2d((left / 1.2..right * 1.2).log_scale(), heights));
    } else {
        let margin = ((right - left) * 0.06).max(1e-4);
        finish!(builder.build_cartesian_2d(left - margin..right + margin, heights));
    }
    root.present().map_err(failed)
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> anyhow::Error {
    anyhow::Error::new(error).context("failed to draw a plot")
}
