//! Statements that count the values that answers cannot represent.

use super::{Sql, quoted, trusted};
use crate::postgres::{
    search_watch::FilterClass,
    table::{Presence, Table},
};

/// Where an odd value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddPlace {
    /// The column.
    pub column: String,
    /// What is odd.
    pub kind: OddKind,
    /// The condition for such rows, in SQL.
    pub condition: String,
}

/// What is odd about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OddKind {
    /// NULL in a column that needs a value.
    Null,
    /// A time before the year 1 or after 9999, or an infinity.
    TimeOutOfRange,
    /// NaN or an infinity.
    NotFinite,
    /// A number in JSON that is beyond all doubles.
    BeyondDoubles,
    /// JSON nested deeper than answers are.
    TooDeep,
    /// JSON that JSONB cannot hold: a lone surrogate or the character NUL.
    NotJsonb,
    /// A number, a name or NULL that Panopticon never writes there.
    Impossible,
}

impl OddPlace {
    pub(crate) fn new(column: &str, kind: OddKind, condition: String) -> Self {
        Self { column: column.to_owned(), kind, condition }
    }
}

/// Outside of the years 1 to 9999, or an infinity.
fn out_of_calendar(column: &str) -> String {
    format!("({column} < '0001-01-01' or {column} >= '10000-01-01')")
}

/// The odd values to count in `table`.
pub(crate) fn of_table(table: &Table) -> Vec<OddPlace> {
    let null = |column: &str| OddPlace::new(column, OddKind::Null, format!("{} is null", quoted(column)));
    let mut places = Vec::new();
    if table.text == Presence::Required {
        places.push(null(&table.text_column));
    }
    let required = table.columns.iter().filter(|column| column.default.is_some());
    places.extend(required.map(|column| null(&column.name)));
    places.push(null("created_at"));
    places.push(OddPlace::new("created_at", OddKind::TimeOutOfRange, out_of_calendar("created_at")));
    // The greatest double.
    let beyond =
        "$.** ? (@.type() == \"number\" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))";
    places.push(OddPlace::new(
        "metadata",
        OddKind::BeyondDoubles,
        format!("jsonb_path_exists(metadata, 'strict {beyond}')"),
    ));
    let deep = "strict $.**{100 to last} ? (@.type() == \"array\" || @.type() == \"object\")";
    places.push(OddPlace::new(
        "metadata",
        OddKind::TooDeep,
        format!("jsonb_path_exists(metadata, '{deep}')"),
    ));
    places
}

/// The odd times to count in a log table, whose time columns are `columns`.
pub(crate) fn of_times(columns: &[String]) -> Vec<OddPlace> {
    let mut places = Vec::new();
    for column in columns {
        // An action that is running has no end.
        if column != "ended_at" {
            places.push(OddPlace::new(column, OddKind::Null, format!("{} is null", quoted(column))));
        }
        places.push(OddPlace::new(column, OddKind::TimeOutOfRange, out_of_calendar(&quoted(column))));
    }
    places
}

/// The odd values except times to count in the log table `table`: negative counts, measurements that are not numbers,
/// unknown names, and NULL in any of these.
pub(crate) fn of_numbers(table: &str) -> Vec<OddPlace> {
    let classes = FilterClass::ALL.map(|class| format!("'{class}'")).join(", ");
    type Columns = &'static [&'static str];
    let (counts, measured, perhaps): (Columns, Columns, Columns) = match table {
        "migration_jobs" => (&["written", "updated", "deleted"], &[], &[]),
        "vector_search_history" => (
            &["searches", "wanted", "returned", "replayed", "missing", "rows"],
            &["seconds", "target"],
            &["latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "recall", "recall_low", "recall_high"],
        ),
        "runs" => (&["requests", "tokens", "without_usage", "without_cost"], &["cost_usd"], &[]),
        "run_workers" => (&["requests"], &[], &[]),
        _ => (&[], &[], &[]),
    };
    let name = match table {
        "migration_jobs" => Some(("status", "'copying', 'copied', 'complete', 'undone'")),
        "vector_search_history" => Some(("filter_class", classes.as_str())),
        "runs" => Some(("state", "'running', 'cancelled', 'stopped', 'completed'")),
        _ => None,
    };
    let counts = counts.iter().map(|column| (*column, format!("coalesce({column} < 0, true)")));
    // NaN is greater than all numbers.
    let odd = |column: &str| format!("{column} < 0 or {column} >= 'Infinity'");
    let measured = measured.iter().map(|column| (*column, format!("coalesce({}, true)", odd(column))));
    let perhaps = perhaps.iter().map(|column| (*column, format!("({})", odd(column))));
    let name = name.map(|(column, known)| (column, format!("coalesce({column} not in ({known}), true)")));
    counts
        .chain(measured)
        .chain(perhaps)
        .chain(name)
        .map(|(column, condition)| OddPlace::new(column, OddKind::Impossible, condition))
        .collect()
}

/// What is looked for in `evaluation_results`.
pub(crate) fn of_results() -> Vec<OddPlace> {
    vec![
        OddPlace::new("timestamp", OddKind::TimeOutOfRange, out_of_calendar("\"timestamp\"")),
        OddPlace::new("score", OddKind::NotFinite, "score in ('NaN', 'Infinity', '-Infinity')".to_owned()),
        OddPlace::new(
            "result_metadata",
            OddKind::NotJsonb,
            "(result_metadata is not null and panopticon_metadata(result_metadata) is null)".to_owned(),
        ),
    ]
}

/// Counts the rows on `$1` percent of the pages of the table: all, then those of each place.
pub(crate) fn count_odd(table: &str, places: &[OddPlace]) -> Sql {
    let counts: String =
        places.iter().map(|place| format!(",\n    count(*) filter (where {})", place.condition)).collect();
    trusted(format!(
        "select count(*){counts}
from {} tablesample system ($1)",
        quoted(table)
    ))
}

/// Whether there are results, in a database that Panopticon created or adopted.
pub(crate) fn has_results() -> Sql {
    trusted(
        "select to_regclass('evaluation_results') is not null
    and to_regprocedure('panopticon_metadata(json)') is not null"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use records::Service;

    use super::*;

    #[test]
    fn statements_are_the_golden_ones() {
        let outputs = &Table::of(Service::Judge);
        let outputs = count_odd(&outputs.name, &of_table(outputs));
        expect_file!["golden/count_odd_outputs.sql"].assert_eq(&format!("{};\n", outputs.0));
        let results = count_odd("evaluation_results", &of_results());
        expect_file!["golden/count_odd_results.sql"].assert_eq(&format!("{};\n", results.0));
        expect_file!["golden/has_results.sql"].assert_eq(&format!("{};\n", has_results().0));
    }
}
