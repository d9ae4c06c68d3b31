//! Comparisons of two models' answers, by theme and metric.

use super::{
    Judgements, Method,
    gathering::{Comparison, Pair, Unit},
};
use crate::{
    outcome::Outcome,
    parse::Winner,
    rubric::{
        pairwise::{PairVerdict, combine_outcomes},
        panel::{self, Combination},
    },
    statistics::{PositionBias, Summary, position, summarize},
};

/// How often each of two models wins, by one metric on the queries of one theme.
#[derive(Clone, Debug, PartialEq)]
pub struct PairSummary {
    /// The metric.
    pub metric: Option<String>,
    /// The theme.
    pub theme: Option<String>,
    /// The model whose wins are counted first.
    pub first: Option<String>,
    /// The other model.
    pub second: Option<String>,
    /// Comparisons that the first wins in both orders.
    pub wins: u64,
    /// Comparisons that the second wins in both orders.
    pub losses: u64,
    /// Comparisons without a winner, or with a different one in each order.
    pub ties: u64,
    /// The first's share of wins, over queries; a tie is half a win. Its counts are of comparisons.
    pub rate: Summary,
    /// Position bias of the comparisons.
    pub position: PositionBias,
    /// Judgements whose other order is missing, such as those of an active run. No other count includes them.
    pub incomplete: u64,
}

/// Summarizes the comparisons, sorted by metric, theme and models.
pub fn summarize_pairs(judgements: &Judgements, method: &Method) -> Vec<PairSummary> {
    let groups = judgements.comparisons.chunk_by(|a, b| a.pair == b.pair);
    groups
        .map(|group| {
            let (compared, incomplete) = both_orders(group);
            let position = position(compared.iter().map(|(_, verdict)| verdict.map(|pair| pair.consistency)));
            let winners: Vec<(Unit, Outcome<Winner>)> =
                compared.into_iter().map(|(unit, verdict)| (unit, winner(unit, verdict))).collect();
            let count =
                |winner| winners.iter().filter(|(_, one)| *one == Outcome::Scored(winner)).count() as u64;
            let of_queries = winners.chunk_by(|(a, _), (b, _)| a.query == b.query);
            let shares = of_queries.filter_map(|of_query| {
                let share = share(of_query, method.combination)?;
                Some((of_query[0].0.query, Outcome::Scored(share)))
            });
            let rate = Summary { counts: position.counts, ..summarize(shares, &method.bootstrap) };
            let Pair { metric, theme, first, second } = group[0].pair;
            PairSummary {
                metric: judgements.owned(metric),
                theme: judgements.owned(theme),
                first: judgements.owned(first),
                second: judgements.owned(second),
                wins: count(Winner::A),
                losses: count(Winner::B),
                ties: count(Winner::Tie),
                rate,
                position,
                incomplete,
            }
        })
        .collect()
}

/// Combines both orders of each comparison of a pair, sorted; also returns the number of judgements without the other
/// order.
pub(super) fn both_orders(comparisons: &[Comparison]) -> (Vec<(Unit, Outcome<PairVerdict>)>, u64) {
    let (mut compared, mut incomplete) = (Vec::new(), 0);
    for of_unit in comparisons.chunk_by(|a, b| a.unit == b.unit) {
        let (in_order, swapped) = of_unit.split_at(of_unit.partition_point(|one| !one.is_swapped));
        incomplete += in_order.len().abs_diff(swapped.len()) as u64;
        compared.extend(in_order.iter().zip(swapped).map(|(in_order, swapped)| {
            // Stored winners are models; the two orders are combined by the positions of the answers.
            let swapped = swapped.winner.map(Winner::swapped);
            (of_unit[0].unit, combine_outcomes(in_order.winner, swapped))
        }));
    }
    (compared, incomplete)
}

/// The winner by both orders; A is the first of the pair.
pub(super) fn winner(unit: Unit, verdict: Outcome<PairVerdict>) -> Outcome<Winner> {
    verdict.map(|pair| if unit.is_turned { pair.winner.swapped() } else { pair.winner })
}

/// Combines the winners of one query, which are sorted by judge: the winner of most judges, where each judge counts
/// with its most frequent winner. Without a winner, the first reason is used.
pub(super) fn most_wins(winners: &[(Unit, Outcome<Winner>)]) -> Outcome<Winner> {
    let preferred = |all: &[Outcome<Winner>]| panel::winners(all).value.map_or(all[0], Outcome::Scored);
    let of_judges: Vec<Outcome<Winner>> = winners
        .chunk_by(|(a, _), (b, _)| a.judge == b.judge)
        .map(|of_judge| preferred(&of_judge.iter().map(|(_, winner)| *winner).collect::<Vec<_>>()))
        .collect();
    preferred(&of_judges)
}

/// The first's share of wins on one query.
fn share(winners: &[(Unit, Outcome<Winner>)], combination: Combination) -> Option<f64> {
    let share = |winner| match winner {
        Winner::A => 1.0,
        Winner::Tie => 0.5,
        Winner::B => 0.0,
    };
    match combination {
        Combination::Majority => most_wins(winners).scored().map(share),
        Combination::Mean => {
            let of_judges: Vec<Outcome<f64>> = winners
                .chunk_by(|(a, _), (b, _)| a.judge == b.judge)
                .filter_map(|of_judge| {
                    let shares: Vec<_> = of_judge.iter().map(|(_, winner)| winner.map(share)).collect();
                    panel::scores(&shares, Combination::Mean).value.map(Outcome::Scored)
                })
                .collect();
            panel::scores(&of_judges, Combination::Mean).value
        }
    }
}
