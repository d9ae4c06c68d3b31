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
    outcome::Outcome,
    parse::Winner,
    rubric::{pairwise::PairVerdict, panel::Combination},
    statistics::{Agreement, PositionBias, WinnerAgreement, agreement, position, winner_agreement},
};

/// A person's score of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreLabel {
    /// The query, as in [`Judgement`](super::Judgement).
    pub query: String,
    /// The metric by which the person judged; it is compared with judgements by this one only. None for all.
    pub metric: Option<String>,
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
    /// The metric by which the person judged; it is compared with judgements by this one only. None for all.
    pub metric: Option<String>,
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

/// The labels of answers that a judge has judged by one metric.
pub(super) struct Labelled {
    pub(super) metric: Option<String>,
    pub(super) judge: Option<String>,
    /// The judge's score and the label's.
    pub(super) pairs: Vec<(Outcome<f64>, f64)>,
    pub(super) not_judged: u64,
}

/// Those of every judge and metric for which there are labels.
pub(super) fn labelled(
    judgements: &Judgements,
    labels: &[ScoreLabel],
    combination: Combination,
) -> Vec<Labelled> {
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
            .filter(|label| is_of(label.metric.as_deref(), judgements.text(metric)))
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
    of_judges.filter(|labelled| labelled.not_judged > 0 || !labelled.pairs.is_empty()).collect()
}

/// Whether a label by the metric `of_label` is compared with judgements by `metric`.
fn is_of(of_label: Option<&str>, metric: Option<&str>) -> bool {
    of_label.is_none_or(|of_label| metric == Some(of_label))
}

/// Compares each judge's winners with `labels`, each of which is a separate vote. Of several comparisons by one judge,
/// the majority's winner counts.
pub fn winners_agree(judgements: &Judgements, labels: &[WinnerLabel]) -> Vec<WinnersAgree> {
    let agreements = labelled_pairs(judgements, labels).into_iter().map(|of_judge| {
        let LabelledPairs { metric, judge, pairs, position, not_judged } = of_judge;
        WinnersAgree { metric, judge, agreement: winner_agreement(pairs), position, not_judged }
    });
    agreements.collect()
}

/// The labels of pairs that a judge has judged by one metric.
pub(super) struct LabelledPairs {
    pub(super) metric: Option<String>,
    pub(super) judge: Option<String>,
    /// The judge's winner and the label's, in the label's order of the answers.
    pub(super) pairs: Vec<(Outcome<Winner>, Winner)>,
    position: PositionBias,
    not_judged: u64,
}

/// Those of every judge and metric for which there are labels.
pub(super) fn labelled_pairs(judgements: &Judgements, labels: &[WinnerLabel]) -> Vec<LabelledPairs> {
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
            .filter(|label| is_of(label.metric.as_deref(), judgements.text(metric)))
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
        LabelledPairs {
            metric: judgements.owned(metric),
            judge: judgements.owned(judge),
            pairs,
            position: position(seen.map(|(_, verdict)| verdict.map(|pair| pair.consistency))),
            not_judged,
        }
    });
    of_judges.filter(|labelled| labelled.not_judged > 0 || !labelled.pairs.is_empty()).collect()
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
