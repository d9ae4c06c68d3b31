//! Diagnoses an examination. A pure function; each finding states its consequence and its fix.

use store::postgres::quoted;

use super::{Examination, Finding, NotExamined, Remedy, Severity, TableExamination};
use crate::policy::Policy;

mod embeddings;
mod odd_values;
mod replicas;
mod server;
mod session;
mod settings;
mod table;

/// The findings, worst first, those of the server before those of tables.
pub fn diagnose(examination: &Examination, policy: &Policy) -> Vec<Finding> {
    let mut findings = server::diagnose(examination);
    findings.extend(examination.replicas.iter().flat_map(replicas::diagnose));
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
            what: format!("not examined, because {unseen}: its invalid values"),
            remedy: match unseen {
                NotExamined::Privilege(_) => {
                    sql(format!("grant select on evaluation_results to {}", quoted(&examination.server.role)))
                }
                _ => Remedy::Advice("run it again while the server is less busy".to_owned()),
            },
        }),
    }
    match &examination.times {
        Ok(times) => findings.extend(times.iter().flat_map(odd_values::diagnose_bookkeeping)),
        Err(unseen) => findings.push(Finding {
            severity: Severity::Note,
            code: "not_seen",
            table: None,
            what: format!("not examined, because {unseen}: invalid values in the bookkeeping tables"),
            remedy: match unseen {
                NotExamined::Privilege(remedy) if examination.server.unreadable.is_empty() => {
                    Remedy::Advice(remedy.clone())
                }
                NotExamined::Privilege(_) => may_read(examination, None),
                _ => Remedy::Advice("run it again while the server is less busy".to_owned()),
            },
        }),
    }
    findings.extend(hidden(examination));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Tables without vectors that hide rows; tables with vectors have findings of their own.
fn hidden(examination: &Examination) -> impl Iterator<Item = Finding> {
    let is_examined = |name: &str| examination.tables.iter().any(|examined| examined.table.name == name);
    examination.hidden.iter().filter(move |name| !is_examined(name)).map(|name| {
        let role = &examination.server.role;
        Finding {
            severity: Severity::Warning,
            code: "rows_hidden",
            table: Some(name.clone()),
            what: format!(
                "row-level security limits which rows role `{role}` sees, and Panopticon treats these as \
                    all rows"
            ),
            remedy: table::without_row_security(role, name),
        }
    })
}

/// Grants the role read access to `table` and all unreadable bookkeeping tables.
fn may_read(examination: &Examination, table: Option<&String>) -> Remedy {
    let unreadable = table.into_iter().chain(&examination.server.unreadable);
    let names: Vec<String> = unreadable.map(|name| quoted(name)).collect();
    sql(format!("grant select on {} to {}", names.join(", "), quoted(&examination.server.role)))
}

/// Findings for the parts of a table that were not examined: one per reason.
fn unseen(examination: &Examination, examined: &TableExamination) -> Vec<Finding> {
    let parts = [
        ("its vector indexes", examined.indexes.as_ref().err()),
        ("the recall of searches", examined.searches.as_ref().err()),
        ("the recall of earlier searches", examined.history.as_ref().err()),
        ("its embeddings", examined.embeddings.as_ref().err()),
        ("its invalid values", examined.odd.as_ref().err()),
        ("whether its vectors match its texts", examined.recognised.as_ref().err()),
    ];
    let mut reasons: Vec<(&NotExamined, Vec<&str>)> = Vec::new();
    for (part, reason) in parts.into_iter().filter_map(|(part, unseen)| Some((part, unseen?))) {
        // Reasons differ by the relation; our fix covers all relations.
        match reasons.iter_mut().find(|(other, _)| other.to_string() == reason.to_string()) {
            Some((_, parts)) => parts.push(part),
            None => reasons.push((reason, vec![part])),
        }
    }
    reasons
        .into_iter()
        .filter_map(|(reason, parts)| {
            let remedy = match reason {
                NotExamined::Privilege(_) => {
                    let own = (!examined.facts.is_readable).then_some(&examined.table.name);
                    may_read(examination, own)
                }
                NotExamined::TooSlow(_) => {
                    Remedy::Advice("run it again while the server is less busy".to_owned())
                }
                NotExamined::NoModel => Remedy::Advice(
                    "`panopticon search` and `panopticon serve` download the model; or name the folder of \
                        your own copy"
                        .to_owned(),
                ),
                // The misfit is a separate finding.
                NotExamined::Misfit => return None,
            };
            Some(Finding {
                severity: Severity::Note,
                code: "not_seen",
                table: Some(examined.table.name.clone()),
                what: format!("not examined, because {reason}: {}", parts.join(", ")),
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

/// A fix by a single statement.
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

/// Bytes in the notation of PostgreSQL's settings.
fn megabytes(bytes: u64) -> String {
    format!("{}MB", bytes >> 20)
}

#[cfg(test)]
mod tests;
