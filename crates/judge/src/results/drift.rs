//! How a judge's verdicts change over time, by day.

use std::collections::BTreeMap;

use time::{Date, PrimitiveDateTime};

use super::gathering::{JudgeVerdict, Judgement};
use crate::{
    outcome::{Counts, Outcome},
    statistics::Interval,
};

/// The verdicts of a judge by one metric within some days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DayVerdicts {
    /// The last day, in UTC.
    pub day: Date,
    /// Outcomes of judgements on one answer.
    pub counts: Counts,
    /// Mean of the scores; none without scores.
    pub mean: Option<f64>,
    /// Its 95 % interval over judgements, by the normal distribution; none with fewer than two scores.
    pub interval: Option<Interval>,
}

/// A judge by one metric over time.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeDrift {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// Days with judgements, oldest first; several in one if there are too many.
    pub days: Vec<DayVerdicts>,
    /// Days with judgements in each of them, at most.
    pub days_per_point: usize,
}

/// Collects the judgements on one answer by day.
#[derive(Clone, Debug, Default)]
pub struct DriftGathering {
    judges: BTreeMap<(Option<String>, Option<String>), BTreeMap<Date, Day>>,
    /// Judgements without a time, which are excluded.
    pub without_time: u64,
}

/// Sums, by which days are combined exactly.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    counts: Counts,
    /// Mean of the scores, and the sum of the squares of their distances from it.
    mean: f64,
    squares: f64,
}

impl DriftGathering {
    /// Adds a judgement, made at `at`.
    pub fn add(&mut self, judgement: &Judgement<'_>, at: Option<PrimitiveDateTime>) {
        let JudgeVerdict::Score { score, .. } = judgement.verdict else { return };
        let Some(at) = at else {
            self.without_time += 1;
            return;
        };
        let key = (judgement.metric.map(str::to_owned), judgement.judge.map(str::to_owned));
        let one = match score {
            Outcome::Scored(score) if !score.is_finite() => Outcome::Unparsed,
            score => score,
        };
        self.judges.entry(key).or_default().entry(at.date()).or_default().add(one);
    }

    /// The days of each judge, at most `most` points each.
    pub fn finish(self, most: usize) -> Vec<JudgeDrift> {
        let drifts = self.judges.into_iter().map(|((metric, judge), days)| {
            let days: Vec<(Date, Day)> = days.into_iter().collect();
            let days_per_point = days.len().div_ceil(most.max(1)).max(1);
            let points = days.chunks(days_per_point).filter_map(|days| {
                let (day, _) = days.last()?;
                let all = days.iter().fold(Day::default(), |all, (_, day)| all.and(*day));
                Some(DayVerdicts {
                    day: *day,
                    counts: all.counts,
                    mean: all.mean(),
                    interval: all.interval(),
                })
            });
            JudgeDrift { metric, judge, days: points.collect(), days_per_point }
        });
        drifts.collect()
    }
}

impl Day {
    fn add(&mut self, score: Outcome<f64>) {
        self.counts.add(&score);
        if let Some(score) = score.scored() {
            // Welford's: no sum of squares, of which the difference would lose digits.
            let distance = score - self.mean;
            self.mean += distance / self.counts.scored as f64;
            self.squares += distance * (score - self.mean);
        }
    }

    fn and(self, other: Self) -> Self {
        let (n, m) = (self.counts.scored as f64, other.counts.scored as f64);
        let counts = self.counts + other.counts;
        if n + m == 0.0 {
            return Self { counts, ..self };
        }
        let distance = other.mean - self.mean;
        Self {
            counts,
            mean: self.mean + distance * (m / (n + m)),
            squares: self.squares + other.squares + distance * distance * (n * m / (n + m)),
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.counts.scored > 0).then_some(self.mean).filter(|mean| mean.is_finite())
    }

    fn interval(&self) -> Option<Interval> {
        let n = self.counts.scored as f64;
        let error = (self.squares / (n - 1.0) / n).sqrt();
        let width = 1.96 * error;
        (self.counts.scored > 1 && width.is_finite())
            .then_some(Interval { low: self.mean - width, high: self.mean + width })
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn add(gathering: &mut DriftGathering, day: i64, score: Outcome<f64>) {
        let verdict = JudgeVerdict::Score { score, is_out_of_range: false };
        let judgement = Judgement {
            query: "q",
            model: None,
            theme: None,
            metric: Some("m"),
            judge: None,
            run: None,
            repeat: None,
            verdict,
        };
        gathering.add(&judgement, Some(datetime!(2026-01-01 23:59) + time::Duration::days(day)));
    }

    #[test]
    fn days_are_combined_as_if_they_were_one() {
        let mut gathering = DriftGathering::default();
        for (day, score) in [(0, 1.0), (0, 3.0), (1, 8.0), (2, 5.0)] {
            add(&mut gathering, day, Outcome::Scored(score));
        }
        add(&mut gathering, 1, Outcome::Refused);
        add(&mut gathering, 3, Outcome::Unparsed);
        add(&mut gathering, 3, Outcome::Scored(f64::NAN));
        let [drift] = &gathering.clone().finish(10)[..] else { panic!("one judge") };
        let means: Vec<Option<f64>> = drift.days.iter().map(|day| day.mean).collect();
        assert_eq!((means, drift.days_per_point), (vec![Some(2.0), Some(8.0), Some(5.0), None], 1));
        assert_eq!((drift.days[1].counts.refused, drift.days[3].counts.unparsed), (1, 2));
        assert_eq!(drift.days[1].interval, None);
        let [drift] = &gathering.finish(1)[..] else { panic!("one judge") };
        let [all] = drift.days[..] else { panic!("one point") };
        assert_eq!((all.mean, all.counts.scored, drift.days_per_point), (Some(4.25), 4, 4));
        // The standard deviation of 1, 3, 8, 5 is 2.986.
        let interval = all.interval.expect("four scores");
        assert!((interval.high - interval.low - 2.0 * 1.96 * 2.986 / 2.0).abs() < 0.001, "{interval:?}");
    }

    #[test]
    fn judgements_without_a_time_are_counted() {
        let mut gathering = DriftGathering::default();
        let verdict = JudgeVerdict::Score { score: Outcome::Scored(1.0), is_out_of_range: false };
        let judgement = Judgement {
            query: "q",
            model: None,
            theme: None,
            metric: None,
            judge: None,
            run: None,
            repeat: None,
            verdict,
        };
        gathering.add(&judgement, None);
        assert_eq!((gathering.without_time, gathering.finish(5)), (1, vec![]));
    }
}
