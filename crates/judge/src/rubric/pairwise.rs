//! Comparing two answers in both orders.
//!
//! Judges prefer answers by their position (Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot
//! Arena", section 3.3). So each pair is shown twice, and a winner is one that wins in both orders.

use super::{Inputs, Outputs, Rubric, RubricError, Verdict};
use crate::{outcome::Outcome, parse::Winner};

/// The prompts for one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompts {
    /// The first answer is A.
    pub in_order: String,
    /// The second answer is A.
    pub swapped: String,
}

/// A judge's verdict on a pair in both orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairVerdict {
    /// The winner by both, [`Winner::Tie`] if they disagree; A is the first answer.
    pub winner: Winner,
    /// Whether both orders agree.
    pub consistency: Consistency,
}

/// How a judge's two verdicts on a pair relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// The same winner, or a tie, in both orders.
    Consistent,
    /// The answer in the first position won both times.
    PrefersFirst,
    /// The answer in the second position won both times.
    PrefersSecond,
    /// A tie in one order only.
    HalfTie,
}

/// The prompts for the judge of `rubric` to compare `first` and `second`.
///
/// # Errors
/// As [`Rubric::prompt`].
pub fn prompts(
    rubric: &Rubric,
    query: &str,
    (first, second): (&str, &str),
    reference: Option<&str>,
) -> Result<Prompts, RubricError> {
    let prompt = |outputs| rubric.prompt(&Inputs { query, outputs, reference });
    Ok(Prompts {
        in_order: prompt(Outputs::Two(first, second))?,
        swapped: prompt(Outputs::Two(second, first))?,
    })
}

/// Combines the judge's verdicts on [`Prompts::in_order`] and [`Prompts::swapped`], each in the order that the judge
/// saw. If one order has no verdict, the pair has none, with the first reason.
pub fn combine(in_order: Verdict<Winner>, swapped: Verdict<Winner>) -> Verdict<PairVerdict> {
    let (in_order, swapped) = match (in_order, swapped) {
        (Verdict::Given(in_order), Verdict::Given(swapped)) => (in_order, swapped),
        (Verdict::Unparsed(reason), _) | (Verdict::Given(_), Verdict::Unparsed(reason)) => {
            return Verdict::Unparsed(reason);
        }
        (Verdict::Refused, _) | (Verdict::Given(_), Verdict::Refused) => return Verdict::Refused,
        (Verdict::Failed, _) | (Verdict::Given(_), Verdict::Failed) => return Verdict::Failed,
    };
    Verdict::Given(PairVerdict::of(in_order, swapped))
}

/// The same for stored outcomes, without reasons.
pub fn combine_outcomes(in_order: Outcome<Winner>, swapped: Outcome<Winner>) -> Outcome<PairVerdict> {
    match (in_order, swapped) {
        (Outcome::Scored(in_order), Outcome::Scored(swapped)) => {
            Outcome::Scored(PairVerdict::of(in_order, swapped))
        }
        (Outcome::Scored(_), missing) | (missing, _) => missing.map(|_| unreachable!("it has no winner")),
    }
}

impl PairVerdict {
    /// From the verdicts in each order, by position.
    fn of(in_order: Winner, swapped: Winner) -> Self {
        let consistency = match (in_order, swapped) {
            (Winner::A, Winner::A) => Consistency::PrefersFirst,
            (Winner::B, Winner::B) => Consistency::PrefersSecond,
            (in_order, swapped) if in_order == swapped.swapped() => Consistency::Consistent,
            _ => Consistency::HalfTie,
        };
        let winner = if consistency == Consistency::Consistent { in_order } else { Winner::Tie };
        Self { winner, consistency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rubric::verdict::Unreadable;

    #[test]
    fn different_orders_are_a_tie_with_a_direction() {
        use Consistency::{Consistent, HalfTie, PrefersFirst, PrefersSecond};
        use Winner::{A, B, Tie};
        for (in_order, swapped, winner, consistency) in [
            (A, B, A, Consistent),
            (B, A, B, Consistent),
            (Tie, Tie, Tie, Consistent),
            (A, A, Tie, PrefersFirst),
            (B, B, Tie, PrefersSecond),
            (A, Tie, Tie, HalfTie),
            (Tie, A, Tie, HalfTie),
        ] {
            let combined = combine(Verdict::Given(in_order), Verdict::Given(swapped));
            assert_eq!(
                combined,
                Verdict::Given(PairVerdict { winner, consistency }),
                "{in_order:?} {swapped:?}"
            );
        }
    }

    #[test]
    fn incomplete_comparison_has_no_verdict() {
        let given = || Verdict::Given(Winner::A);
        assert_eq!(combine(given(), Verdict::Refused), Verdict::Refused);
        assert_eq!(combine(Verdict::Failed, given()), Verdict::Failed);
        let unparsed = || Verdict::Unparsed(Unreadable::Truncated);
        assert_eq!(combine(unparsed(), Verdict::Refused), Verdict::Unparsed(Unreadable::Truncated));
    }
}
