//! The server: versions and settings.

use store::postgres::{
    ServerSetting, SettingSource, quoted,
    versions::{Harm, OLDEST_PGVECTOR, OLDEST_SERVER, parse_version, pgvector_problems, safe_server},
};

use super::{megabytes, sql};
use crate::doctor::{Examination, Finding, Remedy, Severity};

const MIB: u64 = 1 << 20;
/// PostgreSQL's default.
const LEAST_MAINTENANCE_BYTES: u64 = 64 * MIB;
/// Who reads beyond the planner's cost of random pages for magnetic disks, its default.
const DISK_PAGE_COST: f64 = 3.0;
/// What the planner reckons for a row that is measured, beside its pages: `cpu_tuple_cost` and an operator.
const ROW_COST: f64 = 0.0125;
const PAGE_BYTES: f64 = 8_192.0;
/// VACUUM removes nothing that a transaction may still see.
const LONG_TRANSACTION_SECONDS: u64 = 3_600;

pub(super) fn diagnose(examination: &Examination) -> Vec<Finding> {
    let server = &examination.server;
    let mut findings = Vec::new();
    let mut add = |severity, code, what: String, remedy| {
        findings.push(Finding { severity, code, table: None, what, remedy });
    };
    if server.postgresql_number < OLDEST_SERVER {
        let what =
            format!("PostgreSQL {} is too old for Panopticon, which needs 14 or newer", server.postgresql);
        add(Severity::Error, "postgresql_too_old", what, Remedy::Advice("upgrade PostgreSQL".to_owned()));
    } else if let Some(safe) = safe_server(server.postgresql_number) {
        let what = format!(
            "PostgreSQL {} has a bug by which a role that may run statements can take over the server (CVE-2026-6473)",
            server.postgresql
        );
        let remedy = Remedy::Advice(format!("upgrade PostgreSQL to {safe}; its data stays as it is"));
        add(Severity::Warning, "postgresql_unsafe", what, remedy);
    }
    findings.extend(pgvector(examination));
    findings.extend(settings(examination));
    if let Some(oldest) =
        server.oldest_transaction.as_ref().filter(|oldest| oldest.seconds >= LONG_TRANSACTION_SECONDS)
    {
        findings.push(Finding {
            severity: Severity::Warning,
            code: "old_transaction",
            table: None,
            what: format!(
                "a transaction of role `{}` has been open for {} minutes: VACUUM removes no row that died since, and indexes cannot be built concurrently",
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
                "not looked at, since role `{}` may not: transactions of other roles, and index builds of theirs, which look like builds that failed",
                server.role
            ),
            remedy: sql(format!("grant pg_read_all_stats to {}", quoted(&server.role))),
        });
    }
    if examination.collections.is_err() {
        findings.push(Finding {
            severity: Severity::Note,
            code: "not_seen",
            table: None,
            what: format!(
                "not looked at, since role `{}` may not read `migration_jobs`: tables of other collections than the services'",
                server.role
            ),
            remedy: sql(format!("grant select on \"migration_jobs\" to {}", quoted(&server.role))),
        });
    }
    findings
}

fn pgvector(examination: &Examination) -> Option<Finding> {
    let server = &examination.server;
    let finding = |severity, code, what, remedy| Some(Finding { severity, code, table: None, what, remedy });
    let update = "alter extension vector update".to_owned();
    // What runs is the package's library, whatever version the database has noted.
    let Some(running) = server.pgvector_package.as_ref().or(server.pgvector.as_ref()) else {
        let major = server.postgresql_number / 10_000;
        return finding(
            Severity::Error,
            "pgvector_absent",
            "the server has no pgvector, so that it can keep no vectors".to_owned(),
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
    if parse_version(running) < OLDEST_PGVECTOR {
        let what = format!("pgvector {running} is too old for Panopticon, which needs 0.7 or newer");
        return finding(Severity::Error, "pgvector_too_old", what, upgrade());
    }
    let has_graph = examination.tables.iter().any(|table| {
        table.indexes.iter().flat_map(|observation| &observation.indexes).any(|index| index.is_graph())
    });
    let problems = pgvector_problems(running);
    if !problems.is_empty() {
        let severity = problems.iter().map(|problem| match problem.harm {
            Harm::LostRows if has_graph => Severity::Error,
            Harm::LostRows | Harm::Security | Harm::Failures => Severity::Warning,
            Harm::Slowness | Harm::Unlikely => Severity::Note,
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
            "this database has the functions of pgvector {noted}, though {running} is installed: what is new since is missing"
        );
        return finding(Severity::Note, "pgvector_not_updated", what, sql(update));
    }
    None
}

fn settings(examination: &Examination) -> Vec<Finding> {
    let server = &examination.server;
    let mut findings = Vec::new();
    let mut add = |severity, code, what: String, remedy| {
        findings.push(Finding { severity, code, table: None, what, remedy });
    };
    let is_off = |name: &str| server.setting(name).filter(|setting| setting.value == "off");
    let bytes = |name: &str| server.setting(name).and_then(|setting| Some((setting, setting.bytes?)));
    let number = |name: &str| server.setting(name).and_then(|setting| setting.value.parse::<f64>().ok());
    let remedy = |setting, value: &str| remedy(examination, setting, value);
    let machine = server.machine_bytes;
    for name in ["fsync", "full_page_writes"] {
        if let Some(setting) = is_off(name) {
            let what = format!("`{name}` is off: a crash of the machine can leave the database unreadable");
            add(Severity::Error, "no_crash_safety", what, remedy(setting, "on"));
        }
    }
    for name in ["autovacuum", "track_counts"] {
        if let Some(setting) = is_off(name) {
            let what = format!(
                "`{name}` is off: dead rows stay, tables and indexes grow, searches walk over them, and plans rest on old statistics"
            );
            add(Severity::Warning, "autovacuum_off", what, remedy(setting, "on"));
        }
    }
    if let Some((setting, found)) = bytes("maintenance_work_mem")
        && found < LEAST_MAINTENANCE_BYTES
    {
        let wanted = machine.map_or(LEAST_MAINTENANCE_BYTES, |machine| {
            (machine / 16).clamp(LEAST_MAINTENANCE_BYTES, 2_048 * MIB)
        });
        let what = format!(
            "`maintenance_work_mem` is {}: VACUUM reads each index several times, and an index that is built or rebuilt is built on disk, many times slower",
            setting.value
        );
        add(Severity::Warning, "maintenance_memory_small", what, remedy(setting, &megabytes(wanted)));
    }
    let vectors: u64 =
        examination.tables.iter().map(|table| table.facts.table_bytes + table.facts.index_bytes).sum();
    if let Some((setting, found)) = bytes("shared_buffers") {
        let is_small = machine.is_none_or(|machine| found < machine / 8) && vectors > found;
        if is_small {
            let what = format!(
                "`shared_buffers` is {} for {} of tables and indexes: searches fetch what they walk over from outside of it, again and again",
                setting.value,
                megabytes(vectors)
            );
            let remedy = match machine {
                Some(machine) => remedy(setting, &megabytes(machine / 4)),
                None => Remedy::Advice(
                    "set it to a quarter of the server's memory (`alter system set shared_buffers = '…'`) and start the server again"
                        .to_owned(),
                ),
            };
            add(Severity::Warning, "shared_buffers_small", what, remedy);
        }
        if let Some(machine) = machine.filter(|machine| found > machine / 2) {
            let what = format!(
                "`shared_buffers` is {} of a machine with {}: index builds and the system's own cache have too little left",
                setting.value,
                megabytes(machine)
            );
            add(Severity::Warning, "shared_buffers_large", what, remedy(setting, &megabytes(machine / 4)));
        }
        if let Some((cache, found_cache)) = bytes("effective_cache_size")
            && (found_cache < found || machine.is_some_and(|machine| found_cache < machine / 8))
        {
            let wanted = machine.map_or(found.saturating_mul(2), |machine| machine / 2);
            let what = format!(
                "`effective_cache_size` is {}: the planner believes that little is in memory and shuns indexes, and Panopticon plans smaller ones where it knows nothing else of the memory",
                cache.value
            );
            add(Severity::Note, "cache_size_small", what, remedy(cache, &megabytes(wanted)));
        }
    }
    if let Some(setting) =
        server.setting("max_parallel_maintenance_workers").filter(|setting| setting.value == "0")
    {
        let what = "`max_parallel_maintenance_workers` is 0: others than Panopticon build indexes on one processor alone";
        add(Severity::Note, "no_parallel_builds", what.to_owned(), remedy(setting, "2"));
    }
    if let (Some(setting), Some(random), Some(sequential)) =
        (server.setting("random_page_cost"), number("random_page_cost"), number("seq_page_cost"))
        && random >= DISK_PAGE_COST * sequential
    {
        let what = format!(
            "`random_page_cost` is {}, which suits magnetic disks: the planner reads whole tables where an index would do",
            setting.value
        );
        add(Severity::Note, "random_page_cost_high", what, remedy(setting, "1.1"));
    }
    let largest = examination.tables.iter().filter_map(|table| {
        let rows = table.facts.estimated_rows? as f64;
        Some(table.facts.table_bytes as f64 / PAGE_BYTES + rows * ROW_COST)
    });
    if let (Some(setting), Some(threshold)) = (server.setting("jit"), number("jit_above_cost"))
        && server.can_compile
        && setting.value == "on"
        && threshold >= 0.0
        && largest.fold(0.0, f64::max) > threshold
    {
        let what = "`jit` is on, and a search that looks at every row of the largest table costs more than `jit_above_cost`: it is compiled each time, which takes longer than it saves";
        add(Severity::Note, "searches_are_compiled", what.to_owned(), remedy(setting, "off"));
    }
    findings
}

/// How to set `setting` to `value`, where it was set.
fn remedy(examination: &Examination, setting: &ServerSetting, value: &str) -> Remedy {
    let server = &examination.server;
    let (name, database, role) = (&setting.name, quoted(&server.database), quoted(&server.role));
    match setting.source {
        SettingSource::Database => sql(format!("alter database {database} reset {name}")),
        SettingSource::Role => sql(format!("alter role {role} reset {name}")),
        SettingSource::RoleInDatabase => {
            sql(format!("alter role {role} in database {database} reset {name}"))
        }
        SettingSource::CommandLine => {
            Remedy::Advice(format!("start the server without `{name}` on its command line, or with {value}"))
        }
        SettingSource::Connection => {
            Remedy::Advice(format!("take `{name}` out of the options of DATABASE_URL"))
        }
        SettingSource::Server if name == "shared_buffers" => {
            Remedy::Advice(format!("run `alter system set {name} = '{value}'` and start the server again"))
        }
        SettingSource::Server => Remedy::Sql(vec![
            format!("alter system set {name} = '{value}'"),
            "select pg_reload_conf()".to_owned(),
        ]),
    }
}
