//! The history of searches, thinned out for plots.

use maud::{Markup, html};
use serde::{Serialize, Serializer};
use store::postgres::searches::{FilterClass, SearchHistory};
use time::PrimitiveDateTime;

use super::super::{
    plot::{Line, Point, lines},
    text,
};

/// Points of a plot at most.
const MOST_POINTS: usize = 60;

/// The searches of a table with one class of filters.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ClassHistory {
    pub(super) filter_class: &'static str,
    /// Vector searches within the days that are shown.
    pub(super) searches: u64,
    /// Those that were repeated exactly, from which recall is computed.
    pub(super) replayed: u64,
    /// Of the last interval with searches.
    pub(super) latency: Option<Latency>,
    /// As last measured.
    pub(super) recall: Option<Recall>,
    /// Intervals, oldest first; several in one if there are more than a plot shows.
    pub(super) points: Vec<HistoryPoint>,
    /// Measured intervals in each point, at most.
    pub(super) intervals_per_point: usize,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Recall {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) target: f64,
    /// Searches from which it is computed.
    pub(super) replayed: u64,
}

/// One or several intervals.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HistoryPoint {
    /// The end of the last one.
    #[serde(serialize_with = "written")]
    pub(super) at: PrimitiveDateTime,
    pub(super) searches: u64,
    /// Of the slowest interval.
    pub(super) latency: Option<Latency>,
    /// The mean by replayed searches, with the widest interval.
    pub(super) recall: Option<Recall>,
}

fn written<S: Serializer>(at: &PrimitiveDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&records::timestamp::format(*at))
}

/// The histories of a table by class of filters.
pub(super) fn by_class(rows: &[SearchHistory], table: &str) -> Vec<ClassHistory> {
    let of_class = |class: FilterClass| {
        let rows: Vec<&SearchHistory> =
            rows.iter().filter(|row| row.table == table && row.filter_class == class).collect();
        (!rows.is_empty()).then(|| ClassHistory::new(class, &rows))
    };
    FilterClass::ALL.into_iter().filter_map(of_class).collect()
}

impl ClassHistory {
    fn new(class: FilterClass, rows: &[&SearchHistory]) -> Self {
        let intervals_per_point = rows.len().div_ceil(MOST_POINTS);
        Self {
            filter_class: class.as_str(),
            searches: rows.iter().map(|row| row.searches).sum(),
            replayed: rows.iter().map(|row| u64::from(row.replayed)).sum(),
            latency: rows.iter().rev().find_map(|row| latency(row)),
            recall: rows.iter().rev().find_map(|row| recall(row)),
            points: rows.chunks(intervals_per_point).filter_map(HistoryPoint::of).collect(),
            intervals_per_point,
        }
    }

    /// Its plots: recall and latency over time.
    pub(super) fn plots(&self) -> Markup {
        let line = |name: &str, value: &dyn Fn(&HistoryPoint) -> Option<Point>| Line {
            name: name.to_owned(),
            points: self.points.iter().filter_map(value).collect(),
        };
        let recall = line("recall", &|point| {
            let recall = point.recall?;
            Some(Point { at: point.at, value: recall.mean, interval: Some((recall.low, recall.high)) })
        });
        let latency = |name, value: fn(Latency) -> f64| {
            line(name, &|point| Some(Point { at: point.at, value: value(point.latency?), interval: None }))
        };
        let latencies = [
            latency("p99", |latency| latency.p99_ms),
            latency("p95", |latency| latency.p95_ms),
            latency("p50", |latency| latency.p50_ms),
        ];
        html! {
            div.plots {
                @if recall.points.is_empty() { p.note { "No recall was measured: no search was repeated exactly." } }
                @else { (lines(("Recall@10 with its 95 % interval, and its target", self.recall.map(|recall| recall.target)), &[recall])) }
                @if latencies[0].points.is_empty() { p.note { "No latency was measured." } }
                @else { (lines(("Latency of searches, ms", None), &latencies)) }
            }
            p.note {
                (text::counted(self.searches, "search")) ", of which " (text::count(self.replayed)) " were repeated exactly for recall. "
                @if self.intervals_per_point > 1 {
                    "Each point combines up to " (self.intervals_per_point) " intervals: the slowest latencies, the mean recall with the widest interval."
                }
            }
        }
    }
}

impl HistoryPoint {
    fn of(rows: &[&SearchHistory]) -> Option<Self> {
        let last = rows.last()?;
        let slowest = rows.iter().filter_map(|row| latency(row)).reduce(|one, other| Latency {
            p50_ms: one.p50_ms.max(other.p50_ms),
            p95_ms: one.p95_ms.max(other.p95_ms),
            p99_ms: one.p99_ms.max(other.p99_ms),
        });
        let recalls: Vec<Recall> = rows.iter().filter_map(|row| recall(row)).collect();
        let replayed: u64 = recalls.iter().map(|recall| recall.replayed).sum();
        let combined = recalls.last().filter(|_| replayed > 0).map(|newest| Recall {
            mean: recalls.iter().map(|recall| recall.mean * recall.replayed as f64).sum::<f64>()
                / replayed as f64,
            low: recalls.iter().map(|recall| recall.low).fold(f64::INFINITY, f64::min),
            high: recalls.iter().map(|recall| recall.high).fold(f64::NEG_INFINITY, f64::max),
            target: newest.target,
            replayed,
        });
        Some(Self {
            at: last.measured_at,
            searches: rows.iter().map(|row| row.searches).sum(),
            latency: slowest,
            recall: combined,
        })
    }
}

fn latency(row: &SearchHistory) -> Option<Latency> {
    row.latency.map(|latency| Latency {
        p50_ms: latency.p50_ms,
        p95_ms: latency.p95_ms,
        p99_ms: latency.p99_ms,
    })
}

fn recall(row: &SearchHistory) -> Option<Recall> {
    row.recall.map(|recall| Recall {
        mean: recall.mean,
        low: recall.low,
        high: recall.high,
        target: row.target,
        replayed: row.replayed.into(),
    })
}

#[cfg(test)]
mod tests {
    use store::postgres::searches::{MeasuredRecall, Percentiles};
    use time::macros::datetime;

    use super::*;

    fn row(hour: i64, p95_ms: f64, (mean, replayed): (f64, u32)) -> SearchHistory {
        SearchHistory {
            table: "queries".to_owned(),
            filter_class: FilterClass::None,
            measured_at: datetime!(2026-01-01 0:00) + time::Duration::hours(hour),
            seconds: 3_600.0,
            searches: 10,
            latency: Some(Percentiles { p50_ms: 1.0, p95_ms, p99_ms: 9.0 }),
            wanted: 100,
            returned: 100,
            replayed,
            missing: 0,
            recall: (replayed > 0).then_some(MeasuredRecall { mean, low: mean - 0.1, high: mean }),
            target: 0.98,
            rows: 5,
        }
    }

    #[test]
    fn many_intervals_are_combined_without_hiding_the_worst() {
        let rows: Vec<SearchHistory> = (0..120)
            .map(|hour| {
                row(hour, if hour == 3 { 50.0 } else { 2.0 }, if hour == 2 { (0.5, 30) } else { (1.0, 10) })
            })
            .collect();
        let [history] = &by_class(&rows, "queries")[..] else { panic!("one class") };
        assert_eq!((history.points.len(), history.intervals_per_point, history.searches), (60, 2, 1_200));
        let (_, point) = (&history.points[0], &history.points[1]);
        assert_eq!(point.latency.map(|latency| latency.p95_ms), Some(50.0));
        let recall = point.recall.expect("measured");
        assert_eq!((recall.mean, recall.low, recall.high, recall.replayed), (0.625, 0.4, 1.0, 40));
        assert!(by_class(&rows, "other").is_empty());
    }

    #[test]
    fn intervals_without_measurements_have_no_recall() {
        let [history] = &by_class(&[row(0, 1.0, (1.0, 0))], "queries")[..] else { panic!("one class") };
        assert!(history.recall.is_none() && history.points[0].recall.is_none());
        assert!(history.plots().into_string().contains("No recall was measured"));
    }
}
