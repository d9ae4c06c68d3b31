//! Agreement of judges with people's labels, by metric and judge.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{
    Judgements,
    gathering::{Name, Score, Unit},
    pairs::{both_orders, most_wins, winner},
    scores::combined,
};
use crate::{
    outcome::{Counts, Outcome},
    parse::Winner,
    rubric::{pairwise::PairVerdict, panel::Combination},
    statistics::{
        Agreement, Bin, Interval, PositionBias, WinnerAgreement, agreement, histogram, position,
        winner_agreement,
    },
};

/// A person's score of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreLabel {
    /// The query, as in [`Judgement`](super::Judgement).
    pub query: String,
    /// The model of the answer.
    pub model: String,
    /// The score: a finite number.
    pub score: f64,
}

/// A person's preference between two answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinnerLabel {
    /// The query, as in [`Judgement`](super::Judgement).
    pub query: String,
    /// Model A.
    pub first: String,
    /// Model B.
    pub second: String,
    /// The winner.
    pub winner: Winner,
}

/// Agreement of a judge's scores by one metric with people's.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoresAgree {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// Pairs of a label and the judge's score; they agree if they are equal.
    pub agreement: Agreement,
    /// Labels of answers that the judge did not judge.
    pub not_judged: u64,
}

/// Agreement of a judge's winners by one metric with people's.
#[derive(Clone, Debug, PartialEq)]
pub struct WinnersAgree {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// Pairs of a label and the judge's winner.
    pub agreement: WinnerAgreement,
    /// Position bias of the labelled comparisons.
    pub position: PositionBias,
    /// Labels of pairs that the judge did not judge, or in one order only.
    pub not_judged: u64,
}

/// A judge's scores by one metric next to people's.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// By the judge's score, lowest first.
    pub bins: Vec<CalibrationBin>,
    /// Outcomes of the judge on the labelled answers, one per label.
    pub counts: Counts,
    /// Labels of answers that the judge did not judge.
    pub not_judged: u64,
}

/// Labels of answers to which a judge gives similar scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationBin {
    /// The mean of the judge's scores.
    pub judge: f64,
    /// The mean of people's scores.
    pub people: f64,
    /// Its 95 % interval over labels, by the normal distribution; none with fewer than two.
    pub interval: Option<Interval>,
    /// Number of labels.
    pub labels: u64,
}

/// Compares each judge's scores with `labels`. Several scores of one answer by one judge are combined by
/// `combination`.
pub fn scores_agree(
    judgements: &Judgements,
    labels: &[ScoreLabel],
    combination: Combination,
) -> Vec<ScoresAgree> {
    let agreements = labelled(judgements, labels, combination).into_iter().map(|of_judge| {
        let Labelled { metric, judge, pairs, not_judged } = of_judge;
        let pairs = pairs.into_iter().map(|(score, label)| (score.map(Number), Number(label)));
        ScoresAgree { metric, judge, agreement: agreement(pairs), not_judged }
    });
    agreements.collect()
}

/// What people say of answers to which a judge gives similar scores.
pub fn calibration(
    judgements: &Judgements,
    labels: &[ScoreLabel],
    combination: Combination,
) -> Vec<Calibration> {
    let calibrations = labelled(judgements, labels, combination).into_iter().map(|of_judge| {
        let Labelled { metric, judge, pairs, not_judged } = of_judge;
        let counts = Counts::of(pairs.iter().map(|(score, _)| score));
        let scored: Vec<(f64, f64)> =
            pairs.into_iter().filter_map(|(score, label)| Some((score.scored()?, label))).collect();
        let bins = histogram(scored.iter().map(|(score, _)| *score));
        let mut of_bins: Vec<Vec<(f64, f64)>> = vec![Vec::new(); bins.len()];
        for pair in scored {
            if let Some(place) = Bin::place(&bins, pair.0) {
                of_bins[place].push(pair);
            }
        }
        let bins = of_bins.iter().filter(|pairs| !pairs.is_empty()).map(|pairs| CalibrationBin::of(pairs));
        Calibration { metric, judge, bins: bins.collect(), counts, not_judged }
    });
    calibrations.collect()
}

impl CalibrationBin {
    /// That of these scores of the judge and people.
    fn of(pairs: &[(f64, f64)]) -> Self {
        let n = pairs.len() as f64;
        // Divided first: the sum may exceed the largest number.
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(|pair| of(pair) / n).sum::<f64>();
        let (judge, people) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let squares: f64 = pairs.iter().map(|pair| (pair.1 - people).powi(2)).sum();
        let width = 1.96 * (squares / (n - 1.0) / n).sqrt();
        let interval = Interval { low: people - width, high: people + width };
        Self { judge, people, interval: width.is_finite().then_some(interval), labels: pairs.len() as u64 }
    }
}

/// The labels of answers that a judge has judged by one metric.
struct Labelled {
    metric: Option<String>,
    judge: Option<String>,
    /// The judge's score and the label's.
    pairs: Vec<(Outcome<f64>, f64)>,
    not_judged: u64,
}

fn labelled(judgements: &Judgements, labels: &[ScoreLabel], combination: Combination) -> Vec<Labelled> {
    /// By query and model.
    type Scores = HashMap<(Name, Name), Vec<Score>>;
    let mut given: BTreeMap<(Name, Name), Scores> = BTreeMap::new();
    for score in &judgements.scores {
        let of_judge = given.entry((score.metric, score.judge)).or_default();
        of_judge.entry((score.query, score.model)).or_default().push(*score);
    }
    let of_judges = given.into_iter().map(|((metric, judge), scores)| {
        let mut not_judged = 0;
        let pairs: Vec<(Outcome<f64>, f64)> = labels
            .iter()
            .filter_map(|label| {
                let key = judgements.find(&label.query).zip(judgements.find(&label.model));
                let Some(scores) = key.and_then(|key| scores.get(&key)) else {
                    not_judged += 1;
                    return None;
                };
                let score = match combined(scores, combination) {
                    Some(score) => Outcome::Scored(score),
                    None => scores[0].score,
                };
                Some((score, label.score))
            })
            .collect();
        Labelled { metric: judgements.owned(metric), judge: judgements.owned(judge), pairs, not_judged }
    });
    of_judges.collect()
}

/// Compares each judge's winners with `labels`, each of which is a separate vote. Of several comparisons by one judge,
/// the majority's winner counts.
pub fn winners_agree(judgements: &Judgements, labels: &[WinnerLabel]) -> Vec<WinnersAgree> {
    /// By query and pair of models.
    type Compared = HashMap<(Name, Name, Name), Vec<(Unit, Outcome<PairVerdict>)>>;
    let mut given: BTreeMap<(Name, Name), Compared> = BTreeMap::new();
    for of_pair in judgements.comparisons.chunk_by(|a, b| a.pair == b.pair) {
        let pair = of_pair[0].pair;
        // A judge with incomplete comparisons only has judged too.
        for one in of_pair {
            given.entry((pair.metric, one.unit.judge)).or_default();
        }
        for (unit, verdict) in both_orders(of_pair).0 {
            let of_judge = given.entry((pair.metric, unit.judge)).or_default();
            of_judge.entry((unit.query, pair.first, pair.second)).or_default().push((unit, verdict));
        }
    }
    let of_judges = given.into_iter().map(|((metric, judge), compared)| {
        let (mut not_judged, mut labelled) = (0, BTreeSet::new());
        let pairs: Vec<(Outcome<Winner>, Winner)> = labels
            .iter()
            .filter_map(|label| {
                let found = find(judgements, label).filter(|(key, _)| compared.contains_key(key));
                let Some((key, is_turned)) = found else {
                    not_judged += 1;
                    return None;
                };
                labelled.insert(key);
                let winners: Vec<_> =
                    compared[&key].iter().map(|(unit, verdict)| (*unit, winner(*unit, *verdict))).collect();
                // In the label's order, since kappa depends on how often each says A and B.
                let winner =
                    most_wins(&winners).map(|winner| if is_turned { winner.swapped() } else { winner });
                Some((winner, label.winner))
            })
            .collect();
        let seen = labelled.iter().flat_map(|key| &compared[key]);
        WinnersAgree {
            metric: judgements.owned(metric),
            judge: judgements.owned(judge),
            agreement: winner_agreement(pairs),
            position: position(seen.map(|(_, verdict)| verdict.map(|pair| pair.consistency))),
            not_judged,
        }
    });
    of_judges.collect()
}

/// The query and the pair in its own order for `label`, and whether the label has the other order.
fn find(judgements: &Judgements, label: &WinnerLabel) -> Option<((Name, Name, Name), bool)> {
    let query = judgements.find(&label.query)?;
    let (first, second) = (judgements.find(&label.first)?, judgements.find(&label.second)?);
    let is_turned = first > second;
    Some((if is_turned { (query, second, first) } else { (query, first, second) }, is_turned))
}

/// A score as a label.
#[derive(Clone, Copy, Debug)]
struct Number(f64);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // The addition converts negative zero to zero, which is the same score.
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}
