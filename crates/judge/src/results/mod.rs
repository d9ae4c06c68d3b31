//! Evaluation of stored judgements by model, theme and metric: scores, comparisons, and agreement of judges with
//! people. Pure functions over [`Judgements`], which [`Gathering`] gathers one by one.
//!
//! Verdicts on one query become one value before queries are averaged: those of one judge first, then those of several,
//! both in the way that a [`Combination`] says. So a query counts once, however often it was judged.
//!
//! The same judgements give the same numbers, to the last bit and in whatever order they come: bootstraps draw from
//! lists, and these are sorted.

mod compared;
mod gathering;
mod labels;
mod pairs;
mod scores;

pub use compared::{Compared, compare_models, compare_selections};
pub use gathering::{Gathering, Judgement, Judgements, Said};
pub use labels::{ScoreLabel, ScoresAgree, WinnerLabel, WinnersAgree, scores_agree, winners_agree};
pub use pairs::{PairSummary, summarize_pairs};
pub use scores::{ScoreSummary, summarize_scores};

use crate::{rubric::panel::Combination, statistics::Bootstrap};

/// Parameters of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    /// How verdicts on one query become one.
    pub combination: Combination,
    /// How intervals are drawn.
    pub bootstrap: Bootstrap,
}
