//! Derives alerts from the history.
//!
//! The history is replayed from its beginning, so every process derives the same alerts, and a restarted one
//! continues where the last one stopped.

use std::collections::{BTreeMap, VecDeque};

use store::postgres::searches::{FilterClass, MeasuredRecall, SearchHistory};
use time::{Duration, PrimitiveDateTime};

use super::alert::{Alert, AlertChange, AlertKind, Change, Evidence};
use crate::recall::MeanRecall;

/// How far back the history is read: a week contains quiet and busy days.
pub const BASELINE: Duration = Duration::days(7);

/// Minimum replayed searches for a judgement; those of a day count together.
const LEAST_REPLAYED: f64 = 10.0;
/// Older measurements are ignored.
const COUNTS_FOR: Duration = Duration::days(1);

/// With fewer searches in an interval, the 95th percentile depends on one or two of them.
const LEAST_SEARCHES: u64 = 40;
/// Minimum intervals for a baseline: an hour of five minutes each.
const LEAST_INTERVALS: usize = 12;
/// Searches are slow at twice the baseline plus 5 ms: smaller differences are not noticeable.
const SLOW: Band = Band { factor: 2.0, margin_ms: 5.0 };
/// They are normal again at half of that increase.
const USUAL: Band = Band { factor: 1.5, margin_ms: 2.5 };
/// A single slow interval may be caused by a backup or a cold cache.
const SLOW_INTERVALS: u32 = 2;
/// Consecutive measurements without missing results that clear an alert.
const COMPLETE_INTERVALS: u32 = 2;

struct Band {
    factor: f64,
    margin_ms: f64,
}

impl Band {
    fn end(&self, baseline_ms: f64) -> f64 {
        (baseline_ms * self.factor).max(baseline_ms + self.margin_ms)
    }
}

/// Active alerts and their changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// Active alerts, by table and class.
    pub active: Vec<Alert>,
    /// Alerts raised and cleared during the history, in order.
    pub changes: Vec<AlertChange>,
}

/// Derives the alerts from `history`, which is in order of time.
pub fn alerts(history: &[SearchHistory]) -> Alerts {
    let mut kinds: BTreeMap<(&str, FilterClass), Searches> = BTreeMap::new();
    let mut changes = Vec::new();
    for row in history {
        changes.extend(kinds.values_mut().flat_map(|searches| searches.lapse(row.measured_at)));
        let searches = kinds.entry((&row.table, row.filter_class)).or_default();
        let judged = [
            (AlertKind::Recall, searches.judge_recall(row)),
            (AlertKind::Latency, searches.judge_latency(row)),
            (AlertKind::Results, searches.judge_results(row)),
        ];
        for (kind, judgement) in judged {
            changes.extend(searches.apply(kind, judgement, row));
        }
    }
    let active = kinds.into_values().flat_map(|searches| searches.active.into_values());
    Alerts { active: active.map(|active| active.alert).collect(), changes }
}

/// The state of a table and class during the replay of the history.
#[derive(Default)]
struct Searches {
    active: BTreeMap<AlertKind, Active>,
    /// Recalls that count together, each with its number of searches.
    recalls: VecDeque<(PrimitiveDateTime, MeanRecall, f64)>,
    /// 95th percentiles of normal intervals, sorted.
    usual_ms: Vec<f64>,
    slow_intervals: u32,
    complete_intervals: u32,
}

struct Active {
    alert: Alert,
    /// Time of the last relevant measurement.
    measured_at: PrimitiveDateTime,
}

/// The judgement of an interval.
enum Judgement {
    /// Inconclusive: too few measurements, or no significant result.
    Open(Option<Evidence>),
    Wrong(Evidence),
    Right(Evidence),
}

impl Searches {
    fn is_active(&self, kind: AlertKind) -> bool {
        self.active.contains_key(&kind)
    }

    fn judge_recall(&mut self, row: &SearchHistory) -> Judgement {
        let Some(MeasuredRecall { mean, low, high }) = row.recall else { return Judgement::Open(None) };
        self.recalls.push_back((row.measured_at, MeanRecall { mean, low, high }, row.replayed.into()));
        let counted =
            |recalls: &VecDeque<_>| recalls.iter().map(|(_, _, count): &(_, _, f64)| count).sum::<f64>();
        while let Some((at, _, count)) = self.recalls.front() {
            let is_old = row.measured_at - *at > COUNTS_FOR;
            if !is_old && counted(&self.recalls) - count < LEAST_REPLAYED {
                break;
            }
            self.recalls.pop_front();
        }
        if counted(&self.recalls) < LEAST_REPLAYED {
            return Judgement::Open(None);
        }
        let parts: Vec<_> = self.recalls.iter().map(|(_, recall, count)| (*recall, *count)).collect();
        let MeanRecall { mean, low, high } = MeanRecall::pooled(&parts);
        let evidence = Evidence::Recall { recall: MeasuredRecall { mean, low, high }, target: row.target };
        match () {
            () if high < row.target => Judgement::Wrong(evidence),
            () if mean >= row.target => Judgement::Right(evidence),
            () => Judgement::Open(Some(evidence)),
        }
    }

    fn judge_latency(&mut self, row: &SearchHistory) -> Judgement {
        let Some(latency) = row.latency.filter(|_| row.searches >= LEAST_SEARCHES) else {
            return Judgement::Open(None);
        };
        let p95_ms = latency.p95_ms;
        if self.usual_ms.len() < LEAST_INTERVALS {
            self.learn(p95_ms);
            return Judgement::Open(None);
        }
        let baseline_ms = self.usual_ms[self.usual_ms.len() / 2];
        let evidence = Evidence::Latency { p95_ms, baseline_ms };
        if p95_ms > SLOW.end(baseline_ms) {
            self.slow_intervals += 1;
            let is_slow = self.slow_intervals >= SLOW_INTERVALS;
            return if is_slow { Judgement::Wrong(evidence) } else { Judgement::Open(Some(evidence)) };
        }
        self.slow_intervals = 0;
        if self.is_active(AlertKind::Latency) && p95_ms > USUAL.end(baseline_ms) {
            return Judgement::Open(Some(evidence));
        }
        self.learn(p95_ms);
        Judgement::Right(evidence)
    }

    /// Slow intervals are not learned, or they would soon become the baseline.
    fn learn(&mut self, p95_ms: f64) {
        let place = self.usual_ms.partition_point(|usual_ms| *usual_ms < p95_ms);
        self.usual_ms.insert(place, p95_ms);
    }

    fn judge_results(&mut self, row: &SearchHistory) -> Judgement {
        if row.replayed == 0 {
            return Judgement::Open(None);
        }
        let evidence = Evidence::Results { missing: row.missing, replayed: row.replayed };
        if row.missing > 0 {
            self.complete_intervals = 0;
            return Judgement::Wrong(evidence);
        }
        self.complete_intervals += 1;
        if self.complete_intervals >= COMPLETE_INTERVALS {
            Judgement::Right(evidence)
        } else {
            Judgement::Open(None)
        }
    }

    /// Lapses alerts without recent measurements.
    fn lapse(&mut self, now: PrimitiveDateTime) -> Vec<AlertChange> {
        let lapsed = self.active.extract_if(.., |_, active| now - active.measured_at > COUNTS_FOR);
        lapsed
            .map(|(_, active)| AlertChange { at: now, change: Change::Lapsed, alert: active.alert })
            .collect()
    }

    fn apply(&mut self, kind: AlertKind, judgement: Judgement, row: &SearchHistory) -> Option<AlertChange> {
        let active = self.active.get_mut(&kind);
        let (change, alert) = match (judgement, active) {
            (Judgement::Wrong(evidence), None) => {
                let alert = Alert {
                    table: row.table.clone(),
                    filter_class: row.filter_class,
                    since: row.measured_at,
                    evidence,
                };
                self.active.insert(kind, Active { alert: alert.clone(), measured_at: row.measured_at });
                (Change::Raised, alert)
            }
            (Judgement::Wrong(evidence) | Judgement::Open(Some(evidence)), Some(active)) => {
                active.alert.evidence = evidence;
                active.measured_at = row.measured_at;
                return None;
            }
            (Judgement::Right(evidence), Some(_)) => {
                let Active { alert, .. } = self.active.remove(&kind).expect("it was just seen");
                (Change::Cleared, Alert { evidence, ..alert })
            }
            (Judgement::Open(_), _) | (Judgement::Right(_), None) => return None,
        };
        Some(AlertChange { at: row.measured_at, change, alert })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use store::postgres::searches::Percentiles;
    use time::macros::datetime;

    use super::*;

    /// An interval without searches, `number` times five minutes after the start.
    fn interval(number: i64) -> SearchHistory {
        SearchHistory {
            table: "queries".to_owned(),
            filter_class: FilterClass::None,
            measured_at: datetime!(2026-01-31 12:00) + Duration::minutes(5 * number),
            seconds: 300.0,
            searches: 0,
            latency: None,
            wanted: 0,
            returned: 0,
            replayed: 0,
            missing: 0,
            recall: None,
            target: 0.98,
            rows: 50_000,
        }
    }

    fn recall(number: i64, replayed: u32, mean: f64, margin: f64) -> SearchHistory {
        let recall = MeasuredRecall { mean, low: mean - margin, high: (mean + margin).min(1.0) };
        SearchHistory { replayed, recall: Some(recall), ..interval(number) }
    }

    fn latency(number: i64, searches: u64, p95_ms: f64) -> SearchHistory {
        let latency = Percentiles { p50_ms: p95_ms / 2.0, p95_ms, p99_ms: p95_ms * 2.0 };
        SearchHistory { searches, latency: Some(latency), ..interval(number) }
    }

    fn check(history: &[SearchHistory], expected: Expect) {
        let Alerts { active, changes } = alerts(history);
        let minute = |at: PrimitiveDateTime| (at - datetime!(2026-01-31 12:00)).whole_minutes();
        let mut told: String =
            changes.iter().map(|change| format!("{}: {change}\n", minute(change.at))).collect();
        for alert in active {
            told.push_str(&format!("since {}: {alert}\n", minute(alert.since)));
        }
        expected.assert_eq(&told);
    }

    #[test]
    fn recall_significantly_below_the_target_raises_one_alert_until_the_target_is_met() {
        check(&[recall(0, 20, 0.99, 0.01), recall(1, 20, 0.97, 0.02)], expect![""]);
        check(
            &[recall(0, 20, 0.99, 0.01), recall(1, 20, 0.9, 0.03), recall(2, 20, 0.92, 0.03)],
            expect![[r#"
                5: searches of queries (filter: none) have a recall of 0.900, at most 0.930, and the target is 0.98: run `panopticon maintain --once`, or `panopticon index apply`
                since 5: searches of queries (filter: none) have a recall of 0.920, at most 0.950, and the target is 0.98
            "#]],
        );
        // In between, inconclusive: 0.975 ± 0.02 may meet the target.
        check(
            &[recall(0, 20, 0.9, 0.03), recall(1, 20, 0.975, 0.02), recall(2, 20, 0.985, 0.01)],
            expect![[r#"
                0: searches of queries (filter: none) have a recall of 0.900, at most 0.930, and the target is 0.98: run `panopticon maintain --once`, or `panopticon index apply`
                10: the alert about the recall of searches of queries (filter: none) is cleared
            "#]],
        );
    }

    #[test]
    fn few_searches_count_together_for_a_day() {
        check(&[recall(0, 4, 0.5, 0.1), recall(1, 4, 0.5, 0.1)], expect![""]);
        check(
            &[recall(0, 4, 0.5, 0.1), recall(1, 4, 0.5, 0.1), interval(2), recall(3, 4, 0.8, 0.1)],
            expect![[r#"
                15: searches of queries (filter: none) have a recall of 0.600, at most 0.658, and the target is 0.98: run `panopticon maintain --once`, or `panopticon index apply`
                since 15: searches of queries (filter: none) have a recall of 0.600, at most 0.658, and the target is 0.98
            "#]],
        );
        check(&[recall(0, 4, 0.5, 0.1), recall(1, 4, 0.5, 0.1), recall(300, 4, 0.5, 0.1)], expect![""]);
    }

    #[test]
    fn alert_lapses_when_nothing_was_measured_for_a_day() {
        check(
            &[recall(0, 20, 0.9, 0.03), interval(288), latency(289, 100, 5.0), interval(290)],
            expect![[r#"
                0: searches of queries (filter: none) have a recall of 0.900, at most 0.930, and the target is 0.98: run `panopticon maintain --once`, or `panopticon index apply`
                1445: the alert about the recall of searches of queries (filter: none) has lapsed: nothing was measured for a day
            "#]],
        );
    }

    #[test]
    fn classes_and_tables_are_judged_separately() {
        let text = SearchHistory { filter_class: FilterClass::Text, ..recall(1, 20, 0.7, 0.1) };
        let other = SearchHistory { table: "llm_outputs".to_owned(), ..recall(2, 20, 0.6, 0.1) };
        check(
            &[recall(0, 20, 1.0, 0.0), text, other],
            expect![[r#"
                5: searches of queries (filter: text) have a recall of 0.700, at most 0.800, and the target is 0.98: run `panopticon maintain --once`, or `panopticon index apply`
                10: searches of llm_outputs (filter: none) have a recall of 0.600, at most 0.700, and the target is 0.98: run `panopticon maintain --once`, or `panopticon index apply`
                since 10: searches of llm_outputs (filter: none) have a recall of 0.600, at most 0.700, and the target is 0.98
                since 5: searches of queries (filter: text) have a recall of 0.700, at most 0.800, and the target is 0.98
            "#]],
        );
    }

    #[test]
    fn latency_alert_needs_consecutive_slow_intervals_which_are_not_learned() {
        let usual = || (0..20).map(|number| latency(number, 100, 4.0 + f64::from(number as u8 % 3)));
        let and = |more: &[(i64, u64, f64)]| -> Vec<SearchHistory> {
            usual()
                .chain(more.iter().map(|(number, searches, p95)| latency(*number, *searches, *p95)))
                .collect()
        };
        // Only once, too few searches, or within 5 ms.
        check(&and(&[(20, 100, 40.0), (21, 100, 5.0), (22, 100, 40.0)]), expect![""]);
        check(&and(&[(20, 39, 40.0), (21, 39, 40.0), (22, 100, 9.9), (23, 100, 9.9)]), expect![""]);
        check(
            &and(&[(20, 100, 40.0), (21, 100, 50.0), (22, 100, 9.0), (23, 100, 7.0)]),
            expect![[r#"
                105: searches of queries (filter: none) take up to 50.0 ms (95th percentile), compared with 5.0 ms in the last days: run `panopticon doctor`, then `panopticon maintain --once`
                115: the alert about the latency of searches of queries (filter: none) is cleared
            "#]],
        );
        let slow: Vec<(i64, u64, f64)> = (20..100).map(|number| (number, 100, 50.0)).collect();
        check(
            &and(&slow),
            expect![[r#"
                105: searches of queries (filter: none) take up to 50.0 ms (95th percentile), compared with 5.0 ms in the last days: run `panopticon doctor`, then `panopticon maintain --once`
                since 105: searches of queries (filter: none) take up to 50.0 ms (95th percentile), compared with 5.0 ms in the last days
            "#]],
        );
        // There is no baseline yet.
        let new: Vec<SearchHistory> = (0..11).map(|number| latency(number, 100, 5.0)).collect();
        check(&[new, vec![latency(11, 100, 500.0), latency(12, 100, 5.0)]].concat(), expect![""]);
    }

    #[test]
    fn missing_results_alert_is_cleared_after_two_complete_measurements() {
        let missing = |number, missing| SearchHistory { missing, ..recall(number, 20, 1.0, 0.0) };
        // Few results may be all matching rows.
        check(&[SearchHistory { searches: 100, wanted: 1_000, returned: 10, ..interval(0) }], expect![""]);
        check(
            &[missing(0, 0), missing(1, 12), missing(2, 0), missing(3, 3), missing(4, 0), missing(5, 0)],
            expect![[r#"
                5: searches of queries (filter: none) miss 12 existing results in 20 searches: run `panopticon maintain --once`, or `panopticon index apply`
                25: the alert about the results of searches of queries (filter: none) is cleared
            "#]],
        );
    }
}
