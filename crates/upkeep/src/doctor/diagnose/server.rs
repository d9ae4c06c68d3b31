//! The server: its versions and its sessions.

use records::oldest;
use store::postgres::{
    quoted,
    versions::{Consequence, OLDEST_SERVER, is_too_old, parse_version, pgvector_problems, safe_server},
};

use super::{session, settings, sql};
use crate::doctor::{Examination, Finding, Remedy, Severity};

/// VACUUM cannot remove rows that an open transaction may still see.
const LONG_TRANSACTION_SECONDS: u64 = 3_600;

pub(super) fn diagnose(examination: &Examination) -> Vec<Finding> {
    let server = &examination.server;
    let mut findings = Vec::new();
    let mut add = |severity, code, what: String, remedy| {
        findings.push(Finding { severity, code, table: None, what, remedy });
    };
    if server.postgresql_number < OLDEST_SERVER {
        let what = format!(
            "PostgreSQL {} is too old for Panopticon, which needs {} or newer",
            server.postgresql,
            oldest::POSTGRESQL
        );
        add(Severity::Error, "postgresql_too_old", what, Remedy::Advice("upgrade PostgreSQL".to_owned()));
    } else if let Some(safe) = safe_server(server.postgresql_number) {
        let what = format!(
            "PostgreSQL {} has a bug that lets any role that can run statements take over the server \
                (CVE-2026-6473)",
            server.postgresql
        );
        let remedy = Remedy::Advice(format!("upgrade PostgreSQL to {safe}; no dump and restore is needed"));
        add(Severity::Warning, "postgresql_unsafe", what, remedy);
    }
    findings.extend(pgvector(examination));
    findings.extend(session::diagnose(examination));
    findings.extend(settings::diagnose(examination));
    if let Some(oldest) =
        server.oldest_transaction.as_ref().filter(|oldest| oldest.seconds >= LONG_TRANSACTION_SECONDS)
    {
        findings.push(Finding {
            severity: Severity::Warning,
            code: "old_transaction",
            table: None,
            what: format!(
                "a transaction of role `{}` has been open for {} minutes: VACUUM cannot remove rows deleted \
                    since then, and concurrent index builds wait",
                oldest.role,
                oldest.seconds / 60
            ),
            remedy: sql(format!("select pg_terminate_backend({})", oldest.pid)),
        });
    }
    if !server.sees_sessions {
        findings.push(Finding {
            severity: Severity::Note,
            code: "not_seen",
            table: None,
            what: format!(
                "not examined, because role `{}` may not: transactions of other roles, and their index \
                    builds, which look like failed ones",
                server.role
            ),
            remedy: sql(format!("grant pg_read_all_stats to {}", quoted(&server.role))),
        });
    }
    if examination.collections.is_err() {
        let lists = ["migration_jobs", "chroma_collections"];
        let mut lists: Vec<&str> =
            lists.into_iter().filter(|list| server.unreadable.iter().any(|one| one == list)).collect();
        if lists.is_empty() {
            lists.push("migration_jobs");
        }
        findings.push(Finding {
            severity: Severity::Note,
            code: "not_seen",
            table: None,
            what: format!(
                "not examined, because role `{}` may not read `{}`: tables of collections other than the services'",
                server.role,
                lists.join("` and `")
            ),
            remedy: sql(format!(
                "grant select on {} to {}",
                lists.iter().map(|list| quoted(list)).collect::<Vec<_>>().join(", "),
                quoted(&server.role)
            )),
        });
    }
    findings
}

fn pgvector(examination: &Examination) -> Option<Finding> {
    let server = &examination.server;
    let finding = |severity, code, what, remedy| Some(Finding { severity, code, table: None, what, remedy });
    let update = "alter extension vector update".to_owned();
    // The installed package's library runs, whatever version the catalog has.
    let Some(running) = server.pgvector_package.as_ref().or(server.pgvector.as_ref()) else {
        let major = server.postgresql_number / 10_000;
        return finding(
            Severity::Error,
            "pgvector_absent",
            "the server has no pgvector, so it cannot store vectors".to_owned(),
            Remedy::Advice(format!(
                "install the package of your system, on Debian and Ubuntu: apt install postgresql-{major}-pgvector"
            )),
        );
    };
    let upgrade = || {
        let major = server.postgresql_number / 10_000;
        Remedy::Advice(format!(
            "upgrade the package (on Debian and Ubuntu postgresql-{major}-pgvector), then run `{update}` in this database"
        ))
    };
    if is_too_old(running) {
        let [major, minor] = oldest::PGVECTOR;
        let what =
            format!("pgvector {running} is too old for Panopticon, which needs {major}.{minor} or newer");
        return finding(Severity::Error, "pgvector_too_old", what, upgrade());
    }
    let has_graph = examination.tables.iter().any(|table| {
        table.indexes.iter().flat_map(|observation| &observation.indexes).any(|index| index.is_graph())
    });
    let problems = pgvector_problems(running);
    if !problems.is_empty() {
        let severity = problems.iter().map(|problem| match problem.consequence {
            Consequence::LostRows if has_graph => Severity::Error,
            Consequence::LostRows | Consequence::Security | Consequence::Failures => Severity::Warning,
            Consequence::Slowness | Consequence::Unlikely => Severity::Note,
        });
        let severity = severity.min().expect("there is a problem");
        let harms: Vec<String> = problems
            .iter()
            .map(|problem| {
                let fixed_in = problem.fixed_in.map(|number| number.to_string()).join(".");
                let reference =
                    problem.reference.map_or_else(String::new, |reference| format!("{reference}, "));
                format!("{} ({reference}fixed in {fixed_in})", problem.what)
            })
            .collect();
        let what = format!("pgvector {running}: {}", harms.join("; "));
        let mut remedy = upgrade();
        if let (Severity::Error, Remedy::Advice(advice)) = (severity, &mut remedy) {
            advice.push_str(", and `reindex index concurrently` for each HNSW index");
        }
        return finding(severity, "pgvector_outdated", what, remedy);
    }
    let noted = server.pgvector.as_ref()?;
    if parse_version(noted) < parse_version(running) {
        let what = format!(
            "this database has the functions of pgvector {noted}, although {running} is installed: newer \
                functions are missing"
        );
        return finding(Severity::Note, "pgvector_not_updated", what, sql(update));
    }
    None
}
