//! Combination of several verdicts: repeats by one judge, or a panel of judges.

use std::collections::BTreeMap;

use crate::{
    outcome::{Counts, Outcome},
    parse::Winner,
};

/// How to combine several scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combination {
    /// Their mean.
    Mean,
    /// The score given most often; the mean of those, if there are several.
    Majority,
}

/// The combined value of several verdicts, and counts of their outcomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combined<T> {
    /// The value; none without measurements.
    pub value: Option<T>,
    /// Counts of outcomes.
    pub counts: Counts,
}

/// Combines scores.
pub fn scores(outcomes: &[Outcome<f64>], combination: Combination) -> Combined<f64> {
    let values: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.scored()).collect();
    let value = match combination {
        Combination::Mean => mean(&values),
        Combination::Majority => {
            let mut votes: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
            for value in &values {
                votes.entry(value.to_bits()).or_insert((*value, 0)).1 += 1;
            }
            let most = votes.values().map(|(_, votes)| *votes).max();
            let winners = votes.values().filter(|(_, votes)| Some(*votes) == most).map(|(value, _)| *value);
            mean(&winners.collect::<Vec<_>>())
        }
    };
    Combined { value, counts: Counts::of(outcomes) }
}

/// The winner of more than half of the verdicts with a winner; otherwise a tie.
pub fn winners(outcomes: &[Outcome<Winner>]) -> Combined<Winner> {
    let counts = Counts::of(outcomes);
    let votes = |winner| {
        let for_it = outcomes.iter().filter(|outcome| **outcome == Outcome::Scored(winner));
        for_it.count() as u64
    };
    let majority = [Winner::A, Winner::B].into_iter().find(|winner| 2 * votes(*winner) > counts.scored);
    let value = (counts.scored > 0).then(|| majority.unwrap_or(Winner::Tie));
    Combined { value, counts }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    use Outcome::{Failed, Refused, Scored, Unanswered};

    #[test]
    fn scores_are_combined_without_missing_ones() {
        let verdicts = [Scored(8.0), Scored(8.0), Scored(2.0), Refused, Failed, Unanswered];
        let mean = scores(&verdicts, Combination::Mean);
        assert_eq!(mean.value, Some(6.0));
        assert_eq!(mean.counts, Counts { scored: 3, unparsed: 0, refused: 1, failed: 1, unanswered: 1 });
        assert_eq!(mean.counts.left_out(), 3);
        assert_eq!(scores(&verdicts, Combination::Majority).value, Some(8.0));
        let split = [Scored(8.0), Scored(4.0), Scored(8.0), Scored(4.0), Scored(1.0)];
        assert_eq!(scores(&split, Combination::Majority).value, Some(6.0), "8 and 4 are as frequent");
        assert_eq!(scores(&verdicts[3..], Combination::Mean).value, None);
    }

    #[test]
    fn winner_needs_more_than_half() {
        let verdicts = |winners: &[Winner]| winners.iter().copied().map(Scored).collect::<Vec<_>>();
        let winner = |all: &[Winner]| winners(&verdicts(all)).value;
        assert_eq!(winner(&[Winner::A, Winner::A, Winner::B]), Some(Winner::A));
        assert_eq!(winner(&[Winner::A, Winner::B]), Some(Winner::Tie));
        assert_eq!(winner(&[Winner::A, Winner::B, Winner::Tie]), Some(Winner::Tie));
        assert_eq!(winner(&[]), None);
        assert_eq!(winners(&[Failed, Scored(Winner::B)]).value, Some(Winner::B));
    }
}
