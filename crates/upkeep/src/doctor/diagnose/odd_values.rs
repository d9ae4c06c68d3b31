//! Values that responses cannot represent.

use store::postgres::{OddKind, OddValues};

use super::verb;
use crate::doctor::{Finding, Remedy, Severity};

pub(super) fn diagnose(odd: &OddValues) -> Vec<Finding> {
    let finding = |(place, rows): &(store::postgres::OddPlace, u64)| {
        let rows = *rows;
        let (severity, code, is, consequence) = match place.kind {
            OddKind::Null => (
                Severity::Warning,
                "values_missing",
                "no value",
                "responses show an empty text or null instead, and no filter matches the row",
            ),
            OddKind::TimeOutOfRange => (
                Severity::Warning,
                "times_out_of_range",
                "a time before the year 1, after 9999, or infinite",
                "responses show it in PostgreSQL's format, which most programs cannot parse",
            ),
            OddKind::NotFinite => (
                Severity::Warning,
                "scores_not_finite",
                "NaN or an infinity",
                "responses show null instead, and statistics ignore it",
            ),
            OddKind::BeyondDoubles => (
                Severity::Note,
                "numbers_beyond_doubles",
                "a number that does not fit a double",
                "responses contain all its digits, and most programs read it as infinity",
            ),
            OddKind::TooDeep => (
                Severity::Warning,
                "metadata_too_deep",
                "JSON nested deeper than 100 levels",
                "responses show the deeper levels as text",
            ),
            OddKind::NotJsonb => (
                Severity::Warning,
                "metadata_not_unicode",
                "a lone surrogate or the character NUL",
                "responses show U+FFFD instead of a lone surrogate, and filters and statistics ignore the \
                    row's metadata",
            ),
            OddKind::Impossible => (
                Severity::Warning,
                "values_impossible",
                "a value that Panopticon never writes",
                "responses show another value instead, and report it",
            ),
        };
        let sample = if odd.share < 1.0 { "a sample of " } else { "" };
        let what = format!(
            "{rows} of {sample}{} {} {} {is} in column `{}`: {consequence}",
            odd.rows,
            if odd.rows == 1 { "row" } else { "rows" },
            verb(rows, "has", "have"),
            place.column
        );
        let advice = "write the intended value into each of these rows".to_owned();
        let remedy = Remedy::ForRows { advice, select: odd.select(place) };
        Finding { severity, code, table: Some(odd.table.clone()), what, remedy }
    };
    odd.found.iter().map(finding).collect()
}

/// Times and other values in the bookkeeping tables.
pub(super) fn diagnose_bookkeeping(odd: &OddValues) -> Vec<Finding> {
    let finding = |(place, rows): &(store::postgres::OddPlace, u64)| {
        let (code, is, consequence, advice) = match place.kind {
            OddKind::Impossible => (
                "bookkeeping_values",
                "a missing, negative, infinite or unknown value",
                HARM_OF_VALUES,
                "write the intended value into each of these rows, or delete it",
            ),
            OddKind::Null => ("bookkeeping_times", "no time", HARM_OF_TIMES, ADVICE_FOR_TIMES),
            _ => (
                "bookkeeping_times",
                "a time before the year 1, after 9999, or infinite",
                HARM_OF_TIMES,
                ADVICE_FOR_TIMES,
            ),
        };
        let what = format!(
            "{rows} of {} {} {} {is} in column `{}`, which Panopticon never writes: {consequence}",
            odd.rows,
            verb(odd.rows, "row", "rows"),
            verb(*rows, "has", "have"),
            place.column
        );
        let advice = advice.to_owned();
        Finding {
            severity: Severity::Warning,
            code,
            table: Some(odd.table.clone()),
            what,
            remedy: Remedy::ForRows { advice, select: odd.select(place) },
        }
    };
    odd.found.iter().map(finding).collect()
}

const HARM_OF_TIMES: &str = "the row is skipped where times matter, and never expires";
const ADVICE_FOR_TIMES: &str = "write the intended time into each of these rows, or delete it";
const HARM_OF_VALUES: &str =
    "such a measurement is ignored, such a migration cannot be undone, and such a run cannot be resumed";
