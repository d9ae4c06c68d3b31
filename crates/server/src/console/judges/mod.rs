//! Judges: what is missing from their verdicts, how these depend on the order of answers, change over time, and agree
//! with people.

mod agreement;
mod list;

use axum::{Router, routing::get};
use judge::outcome::Counts;

use super::Section;
use crate::results::Results;

/// The pages of judges.
pub(crate) fn router() -> Router<Results> {
    Router::new().route(&Section::Judges.path(), get(list::show)).route(
        &format!("{}/agreement", Section::Judges.path()),
        get(agreement::form).post(agreement::compare),
    )
}

/// Calls of a judge: unanswered outputs had none.
fn calls(counts: Counts) -> u64 {
    counts.scored + counts.unparsed + counts.refused + counts.failed
}
