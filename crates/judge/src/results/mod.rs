//! Evaluation of stored judgements by model, theme and metric: scores, comparisons, and agreement of judges with
//! people. Pure functions over [`Judgements`], which [`Gathering`] gathers one by one.
//!
//! Verdicts on one query are combined before queries are averaged: first those of each judge, then those of several
//! judges, both by a [`Combination`]. So a query counts once, however often it was judged.
//!
//! The same judgements give the same numbers, bit for bit and in any order of the input: bootstraps draw from lists,
//! which are sorted.

mod annotators;
mod calibration;
mod compared;
mod confusion;
mod drift;
mod gathering;
mod judges;
mod labels;
mod pairs;
mod scores;
mod stored;

pub use annotators::{AnnotatorsAgree, PersonLabel, PersonVerdict, annotators_agree};
pub use calibration::{Calibration, CalibrationBin, calibration};
pub use compared::{Compared, QueryDifference, compare_models, compare_selections, largest_regressions};
pub use confusion::{Confusion, ConfusionCell, Rating, score_confusion, winner_confusion};
pub use drift::{DayVerdicts, DriftGathering, JudgeDrift};
pub use gathering::{Gathering, JudgeVerdict, Judgement, Judgements};
pub use judges::{JudgeSummary, summarize_judges};
pub use labels::{ScoreLabel, ScoresAgree, WinnerLabel, WinnersAgree, scores_agree, winners_agree};
pub use pairs::{PairSummary, summarize_pairs};
pub use scores::{ScoreSummary, summarize_scores};
pub use stored::{QueryKey, query_keys, stored_judgement, stored_labels};

use crate::{rubric::panel::Combination, statistics::Bootstrap};

/// Parameters of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    /// How to combine verdicts on one query.
    pub combination: Combination,
    /// How to draw intervals.
    pub bootstrap: Bootstrap,
}
