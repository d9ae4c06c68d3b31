//! Metrics and alerts of vector searches.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use store::{
    postgres::searches::{FilterClass, SearchHistory, SearchTotals},
    storage::Scan,
};

/// Statistics of vector searches, by table and filter class.
#[derive(Clone, Debug)]
pub struct SearchReport {
    /// Counters of this process.
    pub totals: Vec<SearchTotals>,
    /// The last intervals recorded by this process.
    pub intervals: Vec<SearchHistory>,
    /// The last intervals with a measured recall.
    pub recalls: Vec<SearchHistory>,
    /// The checks and their results.
    pub alerts: Vec<SearchAlert>,
    /// History rows that were skipped because their values are invalid.
    pub unreadable: u64,
}

/// A check of searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchAlert {
    /// The table.
    pub table: String,
    /// The filter class of the searches.
    pub filter_class: FilterClass,
    /// The kind of problem: `recall`, `latency` or `results`.
    pub kind: &'static str,
    /// The problem as a sentence; `None` if the check passed.
    pub reason: Option<String>,
}

/// Reads the current statistics of searches.
#[derive(Clone)]
pub struct SearchProbe(Arc<dyn Fn() -> SearchReport + Send + Sync>);

impl SearchProbe {
    /// Reads the statistics by calling `report`.
    pub fn new(report: impl Fn() -> SearchReport + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// The current statistics.
    pub(crate) fn report(&self) -> SearchReport {
        (self.0)()
    }

    /// The current problems.
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
        let SearchReport { totals, intervals, recalls, alerts, unreadable } = (self.0)();
        for (name, help, count) in [
            ("vector_searches", "Vector searches", (|total| total.searches) as fn(&SearchTotals) -> u64),
            ("vector_search_results_wanted", "Results that vector searches requested", |total| total.wanted),
            ("vector_search_results_returned", "Results that vector searches returned", |total| {
                total.returned
            }),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for total in &totals {
                let labels = of_class(&total.table, total.filter_class);
                metric
                    .encode_family(&labels)?
                    .encode_counter::<SearchLabels, u64, u64>(&count(total), None)?;
            }
        }
        encode_scans(&mut encoder, &totals)?;
        encode_latencies(&mut encoder, &intervals)?;
        gauges(
            &mut encoder,
            (
                "vector_search_results",
                "Share of the requested results that searches returned in the last \
                interval",
            ),
            &intervals,
            |row| (row.wanted > 0).then(|| row.returned as f64 / row.wanted as f64),
        )?;
        let recall = |part: fn(&store::postgres::searches::MeasuredRecall) -> f64| {
            move |row: &SearchHistory| row.recall.as_ref().map(part)
        };
        gauges(
            &mut encoder,
            ("vector_search_recall", "Recall at 10 of vector searches, as last measured"),
            &recalls,
            recall(|recall| recall.mean),
        )?;
        gauges(
            &mut encoder,
            ("vector_search_recall_low", "Lower bound of the recall's confidence interval"),
            &recalls,
            recall(|recall| recall.low),
        )?;
        gauges(
            &mut encoder,
            ("vector_search_recall_high", "Upper bound of the recall's confidence interval"),
            &recalls,
            recall(|recall| recall.high),
        )?;
        gauges(&mut encoder, ("vector_search_recall_target", "Target recall"), &recalls, |row| {
            Some(row.target)
        })?;
        encoder
            .encode_descriptor(
                "vector_search_history_unreadable_rows",
                "Rows of vector_search_history that were skipped because their values are invalid",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&unreadable)?;
        let mut metric = encoder.encode_descriptor(
            "vector_search_alert",
            "1 if searches have significantly low recall, high latency or missing results, else 0",
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
    let help = "Vector searches by scan: exact, index, or both if the index scan found too few rows";
    let mut metric = encoder.encode_descriptor("vector_search_scans", help, None, MetricType::Counter)?;
    for total in totals {
        for (scan, count) in Scan::ALL.into_iter().zip(total.scans) {
            let SearchLabels { table, filter_class } = of_class(&total.table, total.filter_class);
            let labels = ScanLabels { table, filter_class, scan: scan.as_str() };
            metric.encode_family(&labels)?.encode_counter::<ScanLabels, u64, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn encode_latencies(encoder: &mut DescriptorEncoder<'_>, intervals: &[SearchHistory]) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "vector_search_latency",
        "Latency quantiles of the searches of the last interval",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    for row in intervals {
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

/// A ratio of each row that has a value.
fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    rows: &[SearchHistory],
    value: impl Fn(&SearchHistory) -> Option<f64>,
) -> fmt::Result {
    // Prometheus names this unit `ratio`; the crate has `ratios`.
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
