//! Problematic settings of the server.

use store::postgres::{ServerFacts, ServerSetting, SettingSource, quoted};

use super::{megabytes, sql};
use crate::doctor::{Examination, Finding, Remedy, Severity};

const MIB: u64 = 1 << 20;
/// PostgreSQL's default.
const LEAST_MAINTENANCE_BYTES: u64 = 64 * MIB;
/// PostgreSQL's default is 4, for magnetic disks; for others it is a little more than 1.
const DISK_PAGE_COST: f64 = 3.0;
/// The planner's cost of a scanned row, in addition to its pages: `cpu_tuple_cost` and one operator.
const ROW_COST: f64 = 0.0125;
const PAGE_BYTES: f64 = 8_192.0;

pub(super) fn diagnose(examination: &Examination) -> Vec<Finding> {
    let mut findings = switches(&examination.server);
    findings.extend(memory(examination));
    findings.extend(costs(examination));
    findings
}

/// Settings that should never be off.
fn switches(server: &ServerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["fsync", "full_page_writes"] {
        if let Some(setting) = server.setting(name).filter(|setting| setting.value == "off") {
            let what = format!("`{name}` is off: a crash of the machine can leave the database unreadable");
            findings.push(finding(Severity::Error, "no_crash_safety", what, remedy(server, setting, "on")));
        }
    }
    for name in ["autovacuum", "track_counts"] {
        if let Some(setting) = server.setting(name).filter(|setting| setting.value == "off") {
            let what = format!(
                "`{name}` is off: dead rows accumulate, tables and indexes grow, searches scan dead rows, \
                    and plans use old statistics"
            );
            findings.push(finding(Severity::Warning, "autovacuum_off", what, remedy(server, setting, "on")));
        }
    }
    findings
}

fn memory(examination: &Examination) -> Vec<Finding> {
    let server = &examination.server;
    let machine = server.machine_bytes;
    let bytes = |name: &str| server.setting(name).and_then(|setting| Some((setting, setting.bytes?)));
    let mut findings = Vec::new();
    if let Some((setting, found)) = bytes("maintenance_work_mem")
        && found < LEAST_MAINTENANCE_BYTES
    {
        let wanted = machine.map_or(LEAST_MAINTENANCE_BYTES, |machine| {
            (machine / 16).clamp(LEAST_MAINTENANCE_BYTES, 2_048 * MIB)
        });
        let what = format!(
            "`maintenance_work_mem` is {}: VACUUM may have to read each index several times, and an index may be built on disk, many times slower",
            setting.value
        );
        findings.push(finding(
            Severity::Warning,
            "maintenance_memory_small",
            what,
            remedy(server, setting, &megabytes(wanted)),
        ));
    }
    let vectors: u64 =
        examination.tables.iter().map(|table| table.facts.table_bytes + table.facts.index_bytes).sum();
    if let Some((setting, found)) = bytes("shared_buffers") {
        let is_small = machine.is_none_or(|machine| found < machine / 8) && vectors > found;
        if is_small {
            let what = format!(
                "`shared_buffers` is {} for {} of tables and indexes: searches repeatedly read pages from \
                    outside it",
                setting.value,
                megabytes(vectors)
            );
            let remedy = match machine {
                Some(machine) => remedy(server, setting, &megabytes(machine / 4)),
                None => Remedy::Advice(
                    "set it to a quarter of the server's memory (`alter system set shared_buffers = '…'`) \
                        and restart the server"
                        .to_owned(),
                ),
            };
            findings.push(finding(Severity::Warning, "shared_buffers_small", what, remedy));
        }
        if let Some(machine) = machine.filter(|machine| found > machine / 2) {
            let what = format!(
                "`shared_buffers` is {} of a machine with {}: too little is left for index builds and the \
                    operating system's cache",
                setting.value,
                megabytes(machine)
            );
            findings.push(finding(
                Severity::Warning,
                "shared_buffers_large",
                what,
                remedy(server, setting, &megabytes(machine / 4)),
            ));
        }
        if let Some((cache, found_cache)) = bytes("effective_cache_size")
            && (found_cache < found || machine.is_some_and(|machine| found_cache < machine / 8))
        {
            let wanted = machine.map_or(found.saturating_mul(2), |machine| machine / 2);
            let what = format!(
                "`effective_cache_size` is {}: the planner assumes that little is cached and avoids \
                    indexes, and Panopticon plans smaller indexes if it does not know the machine's memory",
                cache.value
            );
            findings.push(finding(
                Severity::Note,
                "cache_size_small",
                what,
                remedy(server, cache, &megabytes(wanted)),
            ));
        }
    }
    findings
}

/// Planner costs and parallelism of index builds.
fn costs(examination: &Examination) -> Vec<Finding> {
    let server = &examination.server;
    let number = |name: &str| server.setting(name).and_then(|setting| setting.value.parse::<f64>().ok());
    let mut findings = Vec::new();
    if let Some(setting) =
        server.setting("max_parallel_maintenance_workers").filter(|setting| setting.value == "0")
    {
        let what = "`max_parallel_maintenance_workers` is 0: programs other than Panopticon build indexes \
            on a single core";
        findings.push(finding(
            Severity::Note,
            "no_parallel_builds",
            what.to_owned(),
            remedy(server, setting, "2"),
        ));
    }
    if let (Some(setting), Some(random), Some(sequential)) =
        (server.setting("random_page_cost"), number("random_page_cost"), number("seq_page_cost"))
        && random >= DISK_PAGE_COST * sequential
    {
        let what = format!(
            "`random_page_cost` is {}, which suits magnetic disks: the planner prefers sequential scans to \
                index scans",
            setting.value
        );
        findings.push(finding(Severity::Note, "random_page_cost_high", what, remedy(server, setting, "1.1")));
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
        let what = "`jit` is on, and an exact scan of the largest table costs more than `jit_above_cost`: \
            it is compiled each time, although nearly all of its work is in pgvector, which is already \
            compiled";
        findings.push(finding(
            Severity::Note,
            "searches_are_compiled",
            what.to_owned(),
            remedy(server, setting, "off"),
        ));
    }
    findings
}

fn finding(severity: Severity, code: &'static str, what: String, remedy: Remedy) -> Finding {
    Finding { severity, code, table: None, what, remedy }
}

/// How to set `setting` to `value` at the level where it was set.
fn remedy(server: &ServerFacts, setting: &ServerSetting, value: &str) -> Remedy {
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
            Remedy::Advice(format!("remove `{name}` from the options in the database's URL"))
        }
        SettingSource::Server if name == "shared_buffers" => {
            Remedy::Advice(format!("run `alter system set {name} = '{value}'` and restart the server"))
        }
        SettingSource::Server => Remedy::Sql(vec![
            format!("alter system set {name} = '{value}'"),
            "select pg_reload_conf()".to_owned(),
        ]),
    }
}
