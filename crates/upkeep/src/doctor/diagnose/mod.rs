//! Judges what was seen. A pure function; each finding says what harm it does, and what to do.

use store::postgres::quoted;

use super::{Examination, Finding, Remedy, Severity, TableExamination, Unseen};
use crate::policy::Policy;

mod embeddings;
mod odd_values;
mod server;
mod session;
mod settings;
mod table;

/// What is wrong, worst first; of the server before its tables.
pub fn diagnose(examination: &Examination, policy: &Policy) -> Vec<Finding> {
    let mut findings = server::diagnose(examination);
    for table in &examination.tables {
        findings.extend(table::diagnose(examination, table, policy));
        findings.extend(embeddings::diagnose(table));
        findings.extend(table.odd.iter().flat_map(odd_values::diagnose));
        findings.extend(unseen(examination, table));
    }
    match &examination.results {
        Ok(results) => findings.extend(results.iter().flat_map(odd_values::diagnose)),
        Err(unseen) => findings.push(Finding {
            severity: Severity::Note,
            code: "not_seen",
            table: Some("evaluation_results".to_owned()),
            what: format!("not looked at, since {unseen}: its odd values"),
            remedy: match unseen {
                Unseen::Privilege(_) => {
                    sql(format!("grant select on evaluation_results to {}", quoted(&examination.server.role)))
                }
                _ => Remedy::Advice("run it again while the server has less to do".to_owned()),
            },
        }),
    }
    match &examination.times {
        Ok(times) => findings.extend(times.iter().flat_map(odd_values::diagnose_bookkeeping)),
        Err(unseen) => findings.push(Finding {
            severity: Severity::Note,
            code: "not_seen",
            table: None,
            what: format!("not looked at, since {unseen}: odd values in the tables that keep what was done"),
            remedy: match unseen {
                Unseen::Privilege(remedy) if examination.server.unreadable.is_empty() => {
                    Remedy::Advice(remedy.clone())
                }
                Unseen::Privilege(_) => may_read(examination, None),
                _ => Remedy::Advice("run it again while the server has less to do".to_owned()),
            },
        }),
    }
    findings.extend(hidden(examination));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Tables without vectors that hide rows; of the others it is said with what else there is to say of them.
fn hidden(examination: &Examination) -> impl Iterator<Item = Finding> {
    let is_examined = |name: &str| examination.tables.iter().any(|examined| examined.table.name == name);
    examination.hidden.iter().filter(move |name| !is_examined(name)).map(|name| {
        let role = &examination.server.role;
        Finding {
            severity: Severity::Warning,
            code: "rows_hidden",
            table: Some(name.clone()),
            what: format!(
                "row-level security decides which rows role `{role}` sees, and Panopticon takes these for all"
            ),
            remedy: table::without_row_security(role, name),
        }
    })
}

/// Lets the role read `table`, and all tables in which we keep what was done.
fn may_read(examination: &Examination, table: Option<&String>) -> Remedy {
    let unreadable = table.into_iter().chain(&examination.server.unreadable);
    let names: Vec<String> = unreadable.map(|name| quoted(name)).collect();
    sql(format!("grant select on {} to {}", names.join(", "), quoted(&examination.server.role)))
}

/// What was not looked at of a table, as findings: one for all parts that have the same reason.
fn unseen(examination: &Examination, examined: &TableExamination) -> Vec<Finding> {
    let parts = [
        ("its vector indexes", examined.indexes.as_ref().err()),
        ("what searches find", examined.searches.as_ref().err()),
        ("what earlier searches found", examined.history.as_ref().err()),
        ("its embeddings", examined.embeddings.as_ref().err()),
        ("its odd values", examined.odd.as_ref().err()),
        ("whether its vectors are those of its texts", examined.recognised.as_ref().err()),
    ];
    let mut reasons: Vec<(&Unseen, Vec<&str>)> = Vec::new();
    for (part, reason) in parts.into_iter().filter_map(|(part, unseen)| Some((part, unseen?))) {
        // Remedies differ by the relation; ours names all of them.
        match reasons.iter_mut().find(|(other, _)| other.to_string() == reason.to_string()) {
            Some((_, parts)) => parts.push(part),
            None => reasons.push((reason, vec![part])),
        }
    }
    reasons
        .into_iter()
        .filter_map(|(reason, parts)| {
            let remedy = match reason {
                Unseen::Privilege(_) => {
                    let own = (!examined.facts.is_readable).then_some(&examined.table.name);
                    may_read(examination, own)
                }
                Unseen::TooSlow(_) => {
                    Remedy::Advice("run it again while the server has less to do".to_owned())
                }
                Unseen::NoModel => Remedy::Advice(
                    "`panopticon search` and `panopticon serve` bring the model along; or name the folder of your own copy"
                        .to_owned(),
                ),
                // That is a finding of its own.
                Unseen::Misfit => return None,
            };
            Some(Finding {
                severity: Severity::Note,
                code: "not_seen",
                table: Some(examined.table.name.clone()),
                what: format!("not looked at, since {reason}: {}", parts.join(", ")),
                remedy,
            })
        })
        .collect()
}

/// A finding about a table.
fn of_table(
    examined: &TableExamination,
    severity: Severity,
    code: &'static str,
    what: String,
    remedy: Remedy,
) -> Finding {
    Finding { severity, code, table: Some(examined.table.name.clone()), what, remedy }
}

/// A statement that does something with a table.
fn sql(statement: String) -> Remedy {
    Remedy::Sql(vec![statement])
}

/// `1 row`, `2 rows`.
fn count(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{number} {singular}s") }
}

/// `is` or `are`, and so on.
fn verb<'a>(number: u64, singular: &'a str, plural: &'a str) -> &'a str {
    if number == 1 { singular } else { plural }
}

/// A number of bytes as PostgreSQL's settings write it.
fn megabytes(bytes: u64) -> String {
    format!("{}MB", bytes >> 20)
}

#[cfg(test)]
mod tests;
