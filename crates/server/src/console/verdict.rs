//! A judge's verdict, or why it is missing, as lists of results show it.

use maud::{Markup, html};
use serde::Serialize;
use store::postgres::{ResultStatus, ResultWinner, StoredJudgement};

use super::measured::named;

/// A judge's verdict.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) status: &'static str,
    pub(super) score: Option<f64>,
    pub(super) is_out_of_range: bool,
    /// Of two answers.
    pub(super) comparison: Option<Compared>,
}

/// Two answers, compared.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) opponent: Option<String>,
    /// Whether the judge saw the opponent's answer first.
    pub(super) is_swapped: bool,
    /// `model`, `opponent` or `tie`; null without a verdict.
    pub(super) winner: Option<&'static str>,
}

impl From<&StoredJudgement<'_>> for Verdict {
    fn from(judgement: &StoredJudgement<'_>) -> Self {
        Self {
            status: judgement.status.as_str(),
            score: judgement.score,
            is_out_of_range: judgement.is_out_of_range,
            comparison: judgement.comparison.map(|comparison| Compared {
                opponent: comparison.opponent.map(str::to_owned),
                is_swapped: comparison.is_swapped,
                winner: comparison.winner.map(ResultWinner::as_str),
            }),
        }
    }
}

impl Verdict {
    pub(super) fn shown(&self) -> Markup {
        let scored = ResultStatus::Scored.as_str();
        html! {
            @match &self.comparison {
                Some(comparison) => {
                    @match comparison.winner {
                        Some("model") => "better than ",
                        Some("opponent") => "worse than ",
                        Some(_) => "tie with ",
                        None => { (self.status) " against " },
                    }
                    (named(comparison.opponent.as_ref()))
                    span.note { ", shown " @if comparison.is_swapped { "second" } @else { "first" } }
                }
                None if self.status == scored => {
                    @match self.score { Some(score) => (score), None => "–" }
                    @if self.is_out_of_range { " " span.problem { "off the scale" } }
                }
                None => (self.status),
            }
        }
    }
}
