//! What is known of the searches by vector: what Prometheus is told of them, and what is wrong with them.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use store::{
    postgres::{
        Table,
        searches::{FilterClass, SearchHistory, SearchTotals},
    },
    storage::Scan,
};

/// What is known of searches by vector, by table and by what they ask for besides nearness.
#[derive(Clone, Debug)]
pub struct SearchReport {
    /// What this process has counted.
    pub totals: Vec<SearchTotals>,
    /// What it has seen in the last stretch of time.
    pub stretches: Vec<SearchHistory>,
    /// The last ones of which somebody has measured the recall.
    pub recalls: Vec<SearchHistory>,
    /// What is looked at, and whether it is in order.
    pub alerts: Vec<SearchAlert>,
    /// Rows of the history that were passed over, since no measurement leaves such.
    pub unreadable: u64,
}

/// Something about searches that may be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchAlert {
    /// The table.
    pub table: String,
    /// What the searches ask for besides nearness.
    pub filter_class: FilterClass,
    /// What may be wrong: `recall`, `latency`, `results`.
    pub kind: &'static str,
    /// What is wrong, in words; `None` where it is in order.
    pub reason: Option<String>,
}

/// Tells what is known of searches, whenever it is asked.
#[derive(Clone)]
pub struct SearchProbe(Arc<dyn Fn() -> SearchReport + Send + Sync>);

impl SearchProbe {
    /// Asks by `report`.
    pub fn new(report: impl Fn() -> SearchReport + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// What is wrong now.
    pub(crate) fn alerts(&self) -> Vec<SearchAlert> {
        let mut alerts = (self.0)().alerts;
        alerts.retain(|alert| alert.reason.is_some());
        alerts
    }
}

impl fmt::Debug for SearchProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SearchProbe").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SearchLabels {
    table: String,
    filter_class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScanLabels {
    table: String,
    filter_class: &'static str,
    scan: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuantileLabels {
    table: String,
    filter_class: &'static str,
    quantile: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    table: String,
    filter_class: &'static str,
    alert: &'static str,
}

impl Collector for SearchProbe {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let SearchReport { totals, stretches, recalls, alerts, unreadable } = (self.0)();
        for (name, help, count) in [
            ("vector_searches", "Searches by vector", (|total| total.searches) as fn(&SearchTotals) -> u64),
            ("vector_search_results_wanted", "Results that searches by vector asked for", |total| {
                total.wanted
            }),
            ("vector_search_results_returned", "Results that searches by vector had", |total| total.returned),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for total in &totals {
                let labels = of_class(&Table::of(total.service).name, total.filter_class);
                metric
                    .encode_family(&labels)?
                    .encode_counter::<SearchLabels, u64, u64>(&count(total), None)?;
            }
        }
        encode_scans(&mut encoder, &totals)?;
        encode_latencies(&mut encoder, &stretches)?;
        gauges(
            &mut encoder,
            ("vector_search_results", "Share of the wanted results that searches had in the last stretch"),
            &stretches,
            |row| (row.wanted > 0).then(|| row.returned as f64 / row.wanted as f64),
        )?;
        let recall = |part: fn(&store::postgres::searches::MeasuredRecall) -> f64| {
            move |row: &SearchHistory| row.recall.as_ref().map(part)
        };
        gauges(
            &mut encoder,
            ("vector_search_recall", "Share of the ten nearest rows that searches find, as last measured"),
            &recalls,
            recall(|recall| recall.mean),
        )?;
        gauges(
            &mut encoder,
            ("vector_search_recall_low", "What the recall is surely not below"),
            &recalls,
            recall(|recall| recall.low),
        )?;
        gauges(
            &mut encoder,
            ("vector_search_recall_high", "What the recall is surely not above"),
            &recalls,
            recall(|recall| recall.high),
        )?;
        gauges(
            &mut encoder,
            ("vector_search_recall_target", "The recall that is wanted"),
            &recalls,
            |row| Some(row.target),
        )?;
        encoder
            .encode_descriptor(
                "vector_search_history_unreadable_rows",
                "Rows of vector_search_history that are passed over, since no measurement leaves such",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&unreadable)?;
        let mut metric = encoder.encode_descriptor(
            "vector_search_alert",
            "1 where searches surely find too little, take too long, or lack results; 0 where not",
            None,
            MetricType::Gauge,
        )?;
        for alert in alerts {
            let SearchLabels { table, filter_class } = of_class(&alert.table, alert.filter_class);
            let labels = AlertLabels { table, filter_class, alert: alert.kind };
            metric.encode_family(&labels)?.encode_gauge(&u32::from(alert.reason.is_some()))?;
        }
        Ok(())
    }
}

fn encode_scans(encoder: &mut DescriptorEncoder<'_>, totals: &[SearchTotals]) -> fmt::Result {
    let help =
        "Searches by vector, by the scan that answered: exact, index, or both where the index found too few";
    let mut metric = encoder.encode_descriptor("vector_search_scans", help, None, MetricType::Counter)?;
    for total in totals {
        for (scan, count) in Scan::ALL.into_iter().zip(total.scans) {
            let SearchLabels { table, filter_class } =
                of_class(&Table::of(total.service).name, total.filter_class);
            let labels = ScanLabels { table, filter_class, scan: scan.as_str() };
            metric.encode_family(&labels)?.encode_counter::<ScanLabels, u64, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn encode_latencies(encoder: &mut DescriptorEncoder<'_>, stretches: &[SearchHistory]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "vector_search_latency",
        "Times that such a share of the searches of the last stretch did not exceed",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    for row in stretches {
        let Some(latency) = row.latency else { continue };
        let quantiles = [("0.5", latency.p50_ms), ("0.95", latency.p95_ms), ("0.99", latency.p99_ms)];
        for (quantile, milliseconds) in quantiles {
            let SearchLabels { table, filter_class } = of_class(&row.table, row.filter_class);
            let labels = QuantileLabels { table, filter_class, quantile };
            metric.encode_family(&labels)?.encode_gauge(&(milliseconds / 1_000.0))?;
        }
    }
    Ok(())
}

/// A share of each row that has it.
fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    rows: &[SearchHistory],
    value: impl Fn(&SearchHistory) -> Option<f64>,
) -> fmt::Result {
    // Prometheus' own word, where the crate has `ratios`.
    let unit = Unit::Other("ratio".to_owned());
    let mut metric = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
    for row in rows {
        if let Some(value) = value(row) {
            metric.encode_family(&of_class(&row.table, row.filter_class))?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn of_class(table: &str, filter_class: FilterClass) -> SearchLabels {
    SearchLabels { table: table.to_owned(), filter_class: filter_class.as_str() }
}
