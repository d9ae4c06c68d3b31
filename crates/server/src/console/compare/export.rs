//! The tables of a comparison as files.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use judge::{outcome::Counts, statistics::Interval};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    export::csv::{Cell, table},
    wire::{ComparisonResponse, MeanResponse, PairResponse, ScoresResponse},
};

/// A table of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ExportTable {
    /// Differences between what is compared.
    #[default]
    Comparisons,
    /// Mean scores.
    Scores,
    /// Pairwise results.
    Pairs,
}

impl ExportTable {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Comparisons => "comparisons",
            Self::Scores => "scores",
            Self::Pairs => "pairs",
        }
    }
}

/// Which table is exported.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) struct ExportParameters {
    #[serde(default)]
    pub(super) table: ExportTable,
}

/// The runs of a row, if runs are compared.
pub(super) type OfRuns<'r> = [Option<&'r str>; 2];

/// Differences, each with its runs.
pub(super) fn comparisons<'r>(
    rows: impl IntoIterator<Item = (OfRuns<'r>, &'r ComparisonResponse)>,
) -> Response {
    let headings = [
        "run_a",
        "run_b",
        "evaluation_prompt_id",
        "model_a",
        "model_b",
        "queries",
        "only_a",
        "only_b",
        "a_better",
        "b_better",
        "difference",
        "standard_error",
        "low",
        "high",
        "p_value",
        "queries_needed",
        "scored_a",
        "left_out_of_a",
        "scored_b",
        "left_out_of_b",
    ];
    let cells = |([run_a, run_b], one): (OfRuns<'r>, &'r ComparisonResponse)| {
        let (low, high) = ends(one.interval);
        [
            Cell::Text(run_a),
            Cell::Text(run_b),
            Cell::Text(one.evaluation_prompt_id.as_deref()),
            Cell::Text(one.model_a.as_deref()),
            Cell::Text(one.model_b.as_deref()),
            Cell::Count(Some(one.queries)),
            Cell::Count(Some(one.only_a)),
            Cell::Count(Some(one.only_b)),
            Cell::Count(Some(one.a_better)),
            Cell::Count(Some(one.b_better)),
            Cell::Number(one.difference),
            Cell::Number(one.standard_error),
            low,
            high,
            Cell::Number(one.p_value),
            Cell::Count(one.queries_needed),
            Cell::Count(Some(one.counts_a.scored)),
            Cell::Count(Some(left_out(one.counts_a))),
            Cell::Count(Some(one.counts_b.scored)),
            Cell::Count(Some(left_out(one.counts_b))),
        ]
    };
    file(ExportTable::Comparisons, table(headings, rows.into_iter().map(cells)))
}

/// Mean scores, each with its run.
pub(super) fn scores<'r>(rows: impl IntoIterator<Item = (Option<&'r str>, &'r ScoresResponse)>) -> Response {
    let headings = [
        "run",
        "evaluation_prompt_id",
        "theme",
        "model",
        "queries",
        "mean",
        "standard_error",
        "low",
        "high",
        "queries_without_score",
        "scored",
        "left_out",
        "out_of_range",
    ];
    let cells = |(run, one): (Option<&'r str>, &'r ScoresResponse)| {
        let [queries, mean, error, low, high] = mean(&one.mean);
        [
            Cell::Text(run),
            Cell::Text(one.evaluation_prompt_id.as_deref()),
            Cell::Text(one.theme.as_deref()),
            Cell::Text(one.model_id.as_deref()),
            queries,
            mean,
            error,
            low,
            high,
            Cell::Count(Some(one.queries_without_score)),
            Cell::Count(Some(one.counts.scored)),
            Cell::Count(Some(left_out(one.counts))),
            Cell::Count(Some(one.out_of_range)),
        ]
    };
    file(ExportTable::Scores, table(headings, rows.into_iter().map(cells)))
}

/// Pairwise results, each with its run.
pub(super) fn pairs<'r>(rows: impl IntoIterator<Item = (Option<&'r str>, &'r PairResponse)>) -> Response {
    let headings = [
        "run",
        "evaluation_prompt_id",
        "theme",
        "model_a",
        "model_b",
        "wins_a",
        "wins_b",
        "ties",
        "queries",
        "win_rate_a",
        "standard_error",
        "low",
        "high",
        "consistency",
        "scored",
        "left_out",
        "incomplete",
    ];
    let cells = |(run, one): (Option<&'r str>, &'r PairResponse)| {
        let [queries, rate, error, low, high] = mean(&one.win_rate_a);
        [
            Cell::Text(run),
            Cell::Text(one.evaluation_prompt_id.as_deref()),
            Cell::Text(one.theme.as_deref()),
            Cell::Text(one.model_a.as_deref()),
            Cell::Text(one.model_b.as_deref()),
            Cell::Count(Some(one.wins_a)),
            Cell::Count(Some(one.wins_b)),
            Cell::Count(Some(one.ties)),
            queries,
            rate,
            error,
            low,
            high,
            Cell::Number(one.position.consistency),
            Cell::Count(Some(one.counts.scored)),
            Cell::Count(Some(left_out(one.counts))),
            Cell::Count(Some(one.incomplete)),
        ]
    };
    file(ExportTable::Pairs, table(headings, rows.into_iter().map(cells)))
}

fn ends<'c>(interval: Option<Interval>) -> (Cell<'c>, Cell<'c>) {
    let (low, high) = interval.map(|Interval { low, high }| (low, high)).unzip();
    (Cell::Number(low), Cell::Number(high))
}

fn mean<'c>(mean: &MeanResponse) -> [Cell<'c>; 5] {
    let (low, high) = ends(mean.interval);
    [Cell::Count(Some(mean.queries)), Cell::Number(mean.mean), Cell::Number(mean.standard_error), low, high]
}

fn left_out(Counts { scored: _, unparsed, refused, failed, unanswered }: Counts) -> u64 {
    unparsed + refused + failed + unanswered
}

fn file(kind: ExportTable, content: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.csv\"", kind.as_str())),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, content).into_response()
}
