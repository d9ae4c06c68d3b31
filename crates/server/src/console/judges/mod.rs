//! Judges: what is missing from their verdicts, how these depend on the order of answers, change over time, and agree
//! with people.

mod agreement;
mod list;

use axum::{Router, routing::get};
use judge::{
    outcome::Counts,
    statistics::{Interval, share_interval},
};
use maud::{Markup, html};
use serde::Serialize;

use super::{Section, text};
use crate::results::Results;

/// The pages of judges.
pub(crate) fn router() -> Router<Results> {
    Router::new().route(&Section::Judges.path(), get(list::show)).route(
        &format!("{}/agreement", Section::Judges.path()),
        get(agreement::form).post(agreement::compare),
    )
}

/// A share, with its interval by Wilson.
#[derive(Clone, Copy, Debug, Serialize)]
struct Share {
    part: u64,
    whole: u64,
    /// Null of nothing.
    share: Option<f64>,
    interval: Option<Interval>,
}

impl Share {
    fn of(part: u64, whole: u64) -> Self {
        let share = (whole > 0).then(|| part as f64 / whole as f64);
        Self { part, whole, share, interval: share_interval(part, whole) }
    }

    fn shown(self) -> Markup {
        match self.share {
            None => html! { "–" },
            Some(share) => html! {
                (format!("{:.1} %", share * 100.0))
                br;
                span.note.nowrap {
                    @if let Some(Interval { low, high }) = self.interval { (format!("{:.1} to {:.1} %, ", low * 100.0, high * 100.0)) }
                    (text::count(self.part)) " of " (text::count(self.whole))
                }
            },
        }
    }
}

/// Calls of a judge: unanswered outputs had none.
fn calls(counts: Counts) -> u64 {
    counts.scored + counts.unparsed + counts.refused + counts.failed
}
