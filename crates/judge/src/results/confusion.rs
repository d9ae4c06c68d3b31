//! How often a judge and people say what, by metric and judge.

use std::{collections::BTreeMap, fmt};

use super::{
    Judgements,
    labels::{Labelled, LabelledPairs, ScoreLabel, WinnerLabel, labelled, labelled_pairs},
};
use crate::{outcome::Outcome, parse::Winner, rubric::panel::Combination};

/// What a judge and people say of the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// The metric.
    pub metric: Option<String>,
    /// The judge.
    pub judge: Option<String>,
    /// The combinations that occur, by what people say. Labels without the judge's verdict are excluded.
    pub cells: Vec<ConfusionCell>,
}

/// A combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfusionCell {
    /// What people say.
    pub people: Rating,
    /// What the judge says.
    pub judge: Rating,
    /// Number of labels.
    pub labels: u64,
}

/// A verdict among few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rating {
    /// A score, rounded to a whole number.
    Score(i64),
    /// The first answer, in the label's order.
    A,
    /// The second one.
    B,
    /// Neither.
    Tie,
}

impl fmt::Display for Rating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Score(score) => write!(f, "{score}"),
            Self::A => f.write_str("a"),
            Self::B => f.write_str("b"),
            Self::Tie => f.write_str("tie"),
        }
    }
}

impl From<f64> for Rating {
    fn from(score: f64) -> Self {
        // A larger number than any scale has becomes the largest one.
        Self::Score(score.round() as i64)
    }
}

impl From<Winner> for Rating {
    fn from(winner: Winner) -> Self {
        match winner {
            Winner::A => Self::A,
            Winner::B => Self::B,
            Winner::Tie => Self::Tie,
        }
    }
}

/// What each judge and people say of one answer. Several scores of one answer by one judge are combined by
/// `combination`.
pub fn score_confusion(
    judgements: &Judgements,
    labels: &[ScoreLabel],
    combination: Combination,
) -> Vec<Confusion> {
    let of_judges = labelled(judgements, labels, combination).into_iter().map(|of_judge| {
        let Labelled { metric, judge, pairs, not_judged: _ } = of_judge;
        Confusion { metric, judge, cells: cells(pairs) }
    });
    of_judges.collect()
}

/// What each judge and people say of two answers.
pub fn winner_confusion(judgements: &Judgements, labels: &[WinnerLabel]) -> Vec<Confusion> {
    let of_judges = labelled_pairs(judgements, labels).into_iter().map(|of_judge| {
        let LabelledPairs { metric, judge, pairs, .. } = of_judge;
        Confusion { metric, judge, cells: cells(pairs) }
    });
    of_judges.collect()
}

fn cells<V: Copy + Into<Rating>>(pairs: Vec<(Outcome<V>, V)>) -> Vec<ConfusionCell> {
    let mut counts: BTreeMap<(Rating, Rating), u64> = BTreeMap::new();
    for (judge, people) in pairs {
        if let Some(judge) = judge.scored() {
            *counts.entry((people.into(), judge.into())).or_default() += 1;
        }
    }
    counts.into_iter().map(|((people, judge), labels)| ConfusionCell { people, judge, labels }).collect()
}
