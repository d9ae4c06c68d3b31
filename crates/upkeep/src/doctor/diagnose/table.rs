//! A table: its columns, indexes and searches, and whether VACUUM keeps up.

use store::postgres::{
    quoted,
    vector_index::{IndexChange, IndexState},
};

use super::{count, of_table, sql};
use crate::{
    doctor::{Examination, Finding, Remedy, Severity, TableExamination},
    plan::{TargetIndex, plan},
    policy::Policy,
};

/// Fewer dead rows do not slow searches down.
const LEAST_DEAD_ROWS: u64 = 1_000;
/// Autovacuum checks once a minute, so a table in use is above its threshold at times.
const DEAD_ROWS_FACTOR: u64 = 2;
/// The planner needs no statistics of fewer rows.
const LEAST_ANALYZED_ROWS: u64 = 1_000;
/// The size of a table with more rows than that, for a table whose rows cannot be counted.
const LEAST_ANALYZED_BYTES: u64 = 16 << 20;
/// Half of the 2,000 million at which PostgreSQL stops; autovacuum starts at a tenth, even if it is off.
const OLD_AGE: u64 = 1_000_000_000;

pub(super) fn diagnose(
    examination: &Examination,
    examined: &TableExamination,
    policy: &Policy,
) -> Vec<Finding> {
    let name = &examined.table.name;
    if !examined.misfits.is_empty() {
        let what = format!("Panopticon cannot use the table: {}", examined.misfits.join("; "));
        let remedy = Remedy::Advice(format!(
            "if it belongs to another program, use a separate database for Panopticon; otherwise rename it \
                (`alter table {table} rename to {old}`), and `panopticon migrate` or `panopticon serve` \
                creates it",
            table = quoted(name),
            old = quoted(&format!("{name}_old")),
        ));
        return vec![of_table(examined, Severity::Error, "table_misfit", what, remedy)];
    }
    let mut findings = facts(examination, examined);
    findings.extend(indexes(examined, policy));
    findings.extend(searches(examined, policy));
    findings
}

/// How to let `role` see all rows of `table`.
pub(super) fn without_row_security(role: &str, table: &str) -> Remedy {
    Remedy::Advice(format!(
        "use the role that owns the table, or one with BYPASSRLS (`alter role {} bypassrls`), or run `alter table {} disable row level security`",
        quoted(role),
        quoted(table)
    ))
}

fn facts(examination: &Examination, examined: &TableExamination) -> Vec<Finding> {
    let (facts, name) = (&examined.facts, quoted(&examined.table.name));
    let mut findings = Vec::new();
    let mut add = |severity, code, what: String, remedy| {
        findings.push(of_table(examined, severity, code, what, remedy));
    };
    if facts.has_hidden_rows {
        let role = &examination.server.role;
        let what = format!(
            "row-level security limits which rows role `{role}` sees: searches return only those, and \
                `panopticon migrate` and `verify` reject the table"
        );
        let remedy = without_row_security(role, &examined.table.name);
        add(Severity::Warning, "rows_hidden", what, remedy);
    }
    if facts.is_unlogged {
        let what = "the table is unlogged: a crash of the server empties it";
        add(
            Severity::Error,
            "table_unlogged",
            what.to_owned(),
            sql(format!("alter table {name} set logged")),
        );
    }
    if facts.age >= OLD_AGE {
        let what = format!(
            "VACUUM has not frozen its rows for {} million transactions: at 2,000 million the server \
                rejects writes",
            facts.age / 1_000_000
        );
        add(Severity::Error, "rows_not_frozen", what, sql(format!("vacuum (freeze) {name}")));
    }
    if !facts.has_autovacuum {
        let what =
            "autovacuum is off for the table: dead rows accumulate, it grows, and plans use old statistics";
        let remedy = sql(format!("alter table {name} reset (autovacuum_enabled)"));
        add(Severity::Warning, "table_autovacuum_off", what.to_owned(), remedy);
    }
    if facts.dead_rows >= LEAST_DEAD_ROWS && facts.dead_rows > facts.tolerated_dead_rows * DEAD_ROWS_FACTOR {
        let beside =
            facts.estimated_rows.map_or_else(String::new, |rows| format!(" and {}", count(rows, "live row")));
        let last = match facts.last_vacuum {
            Some(time) => format!("last vacuumed on {}", time.date()),
            None => "never vacuumed".to_owned(),
        };
        let what = format!(
            "{}{beside}: searches scan dead rows, and index scans lose recall; {last}",
            count(facts.dead_rows, "dead row")
        );
        add(Severity::Warning, "dead_rows", what, sql(format!("vacuum (analyze) {name}")));
    }
    let rows = examined.indexes.as_ref().map_or(facts.estimated_rows, |observation| Some(observation.rows));
    let has_many = rows.map_or(facts.table_bytes >= LEAST_ANALYZED_BYTES, |rows| rows >= LEAST_ANALYZED_ROWS);
    if facts.estimated_rows.is_none() && has_many {
        let what = "the table was never analysed: the planner guesses the selectivity of filters, which \
            decides how searches are executed";
        add(Severity::Warning, "never_analyzed", what.to_owned(), sql(format!("analyze {name}")));
    }
    // A standby sees the index of a build on its primary, but not the build.
    if !examination.server.is_standby {
        for index in &facts.invalid_indexes {
            let is_planned =
                examined.indexes.iter().flat_map(|observation| &observation.indexes).any(|other| {
                    other.name == *index && other.state == IndexState::Invalid && other.serves_searches()
                });
            let what = format!(
                "the build of index `{index}` never finished: it takes space, slows down writes, and serves \
                    no queries{}",
                if examination.server.sees_sessions { "" } else { " (unless another role is building it)" }
            );
            let remedy = if is_planned {
                apply(examined)
            } else {
                sql(format!("drop index concurrently {}", quoted(index)))
            };
            add(Severity::Warning, "index_invalid", what, remedy);
        }
    }
    findings
}

/// A finding if the table's indexes differ from the plan.
fn indexes(examined: &TableExamination, policy: &Policy) -> Option<Finding> {
    let observation = examined.indexes.as_ref().ok()?;
    let plan = plan(observation, policy);
    let has_index = observation.indexes.iter().any(|index| index.is_searched());
    let why = plan.reasons.last().expect("a plan has a reason");
    if let Some(building) = observation.indexes.iter().find(|index| index.state == IndexState::Building) {
        let what = format!("index `{}` is being built", building.name);
        let remedy = Remedy::Command("panopticon index status".to_owned());
        return Some(of_table(examined, Severity::Note, "index_building", what, remedy));
    }
    if matches!(plan.wanted, TargetIndex::Index(_)) && !has_index {
        let time = match &examined.searches {
            Ok(Some(searches)) => format!(", which currently takes {:.0} ms", searches.exact_ms),
            Ok(None) | Err(_) => String::new(),
        };
        let what = format!(
            "no vector index for {}: every search is an exact scan{time}",
            count(observation.rows, "row")
        );
        return Some(of_table(examined, Severity::Warning, "index_missing", what, apply(examined)));
    }
    let other_changes = plan.changes.iter().any(|change| match change {
        // A leftover index is a separate finding.
        IndexChange::Drop { name } => !examined.facts.invalid_indexes.contains(name),
        IndexChange::Build { .. } | IndexChange::Rename { .. } | IndexChange::SetConstruction { .. } => true,
    });
    if other_changes {
        let what = format!("its vector index differs from the planned one, {}: {why}", plan.wanted);
        return Some(of_table(examined, Severity::Note, "index_not_as_planned", what, apply(examined)));
    }
    let tuning = plan.tuning?;
    let what = format!(
        "the search parameters of index `{}` are not known to meet the recall target: {}",
        tuning.index, tuning.reason
    );
    Some(of_table(examined, Severity::Note, "settings_not_measured", what, apply(examined)))
}

fn searches(examined: &TableExamination, policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    let tune = || Remedy::Command(format!("panopticon index tune --table {}", shell(&examined.table.name)));
    if let Ok(Some(searches)) = &examined.searches
        && let Some(found) =
            searches.by_index.as_ref().filter(|found| found.recall_high < policy.recall_target)
    {
        let what = format!(
            "index scans of `{}` return {:.1} % of the ten nearest rows, significantly less than the target \
                of {:.1} %, in {} just measured",
            found.index,
            found.recall * 100.0,
            policy.recall_target * 100.0,
            searches.sampled
        );
        findings.push(of_table(examined, Severity::Warning, "recall_low", what, tune()));
    }
    for last in examined.history.iter().flatten() {
        let Some(recall) = last.recall.filter(|_| last.recall_high.is_some_and(|high| high < last.target))
        else {
            continue;
        };
        let filters = match last.filter_class.as_str() {
            "none" => "without a filter".to_owned(),
            class => format!("with filters ({class})"),
        };
        let what = format!(
            "real searches {filters} returned {:.1} % of the nearest rows, less than the target of {:.1} %, \
                until {} UTC",
            recall * 100.0,
            last.target * 100.0,
            minute(last.measured_at)
        );
        findings.push(of_table(examined, Severity::Warning, "recall_of_searches_low", what, apply(examined)));
    }
    findings
}

fn apply(examined: &TableExamination) -> Remedy {
    Remedy::Command(format!("panopticon index apply --table {}", shell(&examined.table.name)))
}

/// `name` quoted for a shell.
fn shell(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

fn minute(time: time::PrimitiveDateTime) -> String {
    format!("{} {:02}:{:02}", time.date(), time.hour(), time.minute())
}
