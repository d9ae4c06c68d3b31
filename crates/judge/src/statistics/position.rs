//! Position bias: whether a judge's verdict changes with the order of two answers.

use crate::{
    outcome::{Counts, Outcome},
    rubric::pairwise::Consistency,
};

/// How a judge's verdicts depend on the order in which it sees two answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PositionBias {
    /// Pairs with the same verdict in both orders.
    pub consistent: u64,
    /// Pairs of which the answer in the first position won both times.
    pub prefers_first: u64,
    /// Pairs of which the answer in the second position won both times.
    pub prefers_second: u64,
    /// Pairs that were a tie in one order only.
    pub half_ties: u64,
    /// All pairs, and excluded ones.
    pub counts: Counts,
}

/// Counts pairs.
pub fn position(pairs: impl IntoIterator<Item = Outcome<Consistency>>) -> PositionBias {
    let mut bias = PositionBias::default();
    for pair in pairs {
        bias.counts.add(&pair);
        match pair.scored() {
            Some(Consistency::Consistent) => bias.consistent += 1,
            Some(Consistency::PrefersFirst) => bias.prefers_first += 1,
            Some(Consistency::PrefersSecond) => bias.prefers_second += 1,
            Some(Consistency::HalfTie) => bias.half_ties += 1,
            None => {}
        }
    }
    bias
}

impl PositionBias {
    /// The share of pairs with the same verdict in both orders; none without pairs.
    pub fn consistency(&self) -> Option<f64> {
        (self.counts.scored > 0).then(|| self.consistent as f64 / self.counts.scored as f64)
    }
}
