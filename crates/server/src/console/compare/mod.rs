//! Comparisons of models, and of runs, by the judges' results. The first one that is chosen is compared with each other
//! one.

mod export;
mod models;
mod query;
mod runs;
mod shown;

use axum::{Router, routing::get};

use super::Section;
use crate::results::Results;

/// Models or runs that are compared at most.
const MOST_COMPARED: usize = 8;
/// How pages name them.
const LETTERS: [&str; MOST_COMPARED] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// The pages of comparisons.
pub(crate) fn router() -> Router<Results> {
    let path = Section::Compare.path();
    Router::new()
        .route(&path, get(models::show))
        .route(&format!("{path}/export"), get(models::export))
        .route(&runs_path(), get(runs::show))
        .route(&format!("{}/export", runs_path()), get(runs::export))
        .route(&format!("{path}/query"), get(query::show))
}

/// The page that compares runs.
pub(super) fn runs_path() -> String {
    format!("{}/runs", Section::Compare.path())
}
