//! `panopticon migrate`: Chroma collections become PostgreSQL tables.

use std::{path::PathBuf, time::Instant};

use anyhow::anyhow;
use migrate::{CollectionReport, Outcome, Source};
use records::Service;
use serde_json::{Value, json};
use store::postgres::{Database, vector_index::IndexPlan};
use uuid::Uuid;

use crate::{
    arguments::{MigrateArguments, What},
    configuration::Configuration,
    connection::Connection,
    exit::{ExitCode, Failure},
    output::{count, excerpt, print},
    progress::MigrationProgress,
};

/// Ids of each kind that a person is shown; `--json` has them all.
const SHOWN_IDS: usize = 20;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &MigrateArguments,
) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut sources = Vec::new();
    let result = migrate_all(configuration, arguments, &mut sources).await;
    if arguments.json {
        print(&to_json(&sources, &result, started).to_string())?;
    }
    let reports = result?;
    if !arguments.json {
        for report in &reports {
            print(&to_text(report))?;
        }
    }
    Ok(exit_code(&reports))
}

async fn migrate_all(
    configuration: &Configuration,
    arguments: &MigrateArguments,
    paths: &mut Vec<PathBuf>,
) -> Result<Vec<CollectionReport>, Failure> {
    // Every source opens before anything is written, so that a wrong path stops the whole command.
    let mut sources = Vec::new();
    for service in arguments.what.services() {
        let path = source_path(configuration, arguments, service).map_err(Failure::usage)?;
        paths.push(path.clone());
        sources.push((service, Source::open(&path, service)?));
    }
    let connection = Connection::open(configuration).await?;
    connection.database.prepare_schema().await?;
    let mut reports = Vec::new();
    for (service, source) in sources {
        reports.push(migrate_service(&connection.database, service, source).await?);
    }
    connection.close().await?;
    Ok(reports)
}

/// Migrates one service with its progress on standard error.
pub(crate) async fn migrate_service(
    database: &Database,
    service: Service,
    source: Source,
) -> Result<CollectionReport, Failure> {
    let progress = MigrationProgress::new(service);
    let show = |phase, done, total| progress.show(phase, done, total);
    let result = migrate::migrate(database, service, source, &show).await;
    progress.finish();
    Ok(result?)
}

fn source_path(
    configuration: &Configuration,
    arguments: &MigrateArguments,
    service: Service,
) -> anyhow::Result<PathBuf> {
    match (&arguments.from, arguments.what) {
        (Some(_), What::All) => Err(anyhow!(
            "--from names one directory, and `all` has three: set CHROMA_PERSIST_DIRECTORY, EVALUATION_PERSIST_DIRECTORY and JUDGE_PERSIST_DIRECTORY, or migrate the services one by one"
        )),
        (Some(path), _) => Ok(path.clone()),
        (None, _) => {
            let (name, path) = configuration.persist_directory(service);
            path.ok_or_else(|| {
                anyhow!("no Chroma directory for {service}: give it with --from DIR, or set {name}")
            })
        }
    }
}

/// The worst outcome decides.
fn exit_code(reports: &[CollectionReport]) -> ExitCode {
    match reports.iter().map(CollectionReport::outcome).min() {
        Some(Outcome::Different) => ExitCode::Different,
        Some(Outcome::Conflicts) => ExitCode::Refused,
        Some(Outcome::Rejected) => ExitCode::Rejected,
        Some(Outcome::Verified) | None => ExitCode::Complete,
    }
}

/// The report for a person.
pub(crate) fn to_text(report: &CollectionReport) -> String {
    let (copied, verification) = (&report.copied, &report.verification);
    let mut lines = vec![format!(
        "{} -> table {}: {} read, {} written, {} unchanged, {} equal on both sides: {}, {:.1} s",
        report.collection,
        report.table,
        count(copied.source_records, "record"),
        copied.written,
        copied.unchanged,
        verification.matched,
        report.outcome().as_str(),
        report.elapsed.as_secs_f64(),
    )];
    if copied.defaults.total() > 0 {
        let defaults = &copied.defaults;
        let filled = [
            (defaults.category, "without a category got `unknown`"),
            (defaults.model_id, "without a model got `unknown`"),
            (defaults.query, "without a query got an empty one"),
            (defaults.created_at, "without a time got 1970-01-01"),
        ];
        let said = filled.iter().filter(|(number, _)| *number > 0);
        lines.extend(said.map(|(number, text)| format!("  {} {text}", count(*number, "record"))));
    }
    if let IndexPlan::Build { lists, .. } = &report.index {
        lines.push(format!("  built an IVFFLAT index with {}", count(u64::from(*lists), "list")));
    }
    let rejects = copied.rejects.iter().map(|reject| (reject.source_id.as_str(), reject.reason.as_str()));
    list_ids(&mut lines, "rejected", rejects);
    let conflicts =
        copied.conflicts.iter().map(|id| (id.as_str(), "the row in PostgreSQL differs and was kept"));
    list_ids(&mut lines, "conflict", conflicts);
    let missing = verification.missing.iter().map(|id| (id.as_str(), "no row in PostgreSQL"));
    list_ids(&mut lines, "missing", missing);
    let parts: Vec<String> =
        verification.different.iter().map(|difference| difference.parts.join(", ")).collect();
    let different = verification.different.iter().zip(&parts);
    list_ids(&mut lines, "different", different.map(|(d, parts)| (d.source_id.as_str(), parts.as_str())));
    let warnings = copied.warnings.iter();
    lines.extend(warnings.map(|warning| format!("  warning {}: {}", warning.code.as_str(), warning.message)));
    lines.join("\n")
}

fn list_ids<'a>(lines: &mut Vec<String>, what: &str, ids: impl ExactSizeIterator<Item = (&'a str, &'a str)>) {
    let total = ids.len();
    // Ids are anybody's text, up to thousands of characters.
    let shown = ids.take(SHOWN_IDS);
    lines.extend(shown.map(|(id, reason)| format!("  {what} `{}`: {reason}", excerpt(id, 80))));
    if total > SHOWN_IDS {
        lines.push(format!("  … and {} more {what}; --json names all", total - SHOWN_IDS));
    }
}

/// The report for a program: one object, on failure too.
fn to_json(paths: &[PathBuf], result: &Result<Vec<CollectionReport>, Failure>, started: Instant) -> Value {
    let source: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut object = json!({
        "run_id": Uuid::new_v4().to_string(),
        "source": if source.len() == 1 { json!(source[0]) } else { json!(source) },
        "seconds": started.elapsed().as_secs_f64(),
    });
    match result {
        Ok(reports) => {
            let outcome = reports.iter().map(CollectionReport::outcome).min().unwrap_or(Outcome::Verified);
            object["status"] = json!(outcome.as_str());
            object["collections"] = reports.iter().map(collection_json).collect();
            object["verify"] = json!({
                "matched": reports.iter().map(|report| report.verification.matched).sum::<u64>(),
                "missing": reports.iter().map(|report| report.verification.missing.len()).sum::<usize>(),
                "different": reports.iter().map(|report| report.verification.different.len()).sum::<usize>(),
            });
        }
        Err(failure) => {
            object["status"] = json!("failed");
            object["error"] = json!(failure.message());
            object["exit_code"] = json!(failure.code() as u8);
            object["collections"] = json!([]);
        }
    }
    object
}

fn collection_json(report: &CollectionReport) -> Value {
    let (copied, verification) = (&report.copied, &report.verification);
    let defaults = &copied.defaults;
    let rejected = copied.rejects.iter();
    let different = verification.different.iter();
    let warnings = copied.warnings.iter();
    json!({
        "tenant": report.tenant,
        "database": report.database,
        "collection": report.collection,
        "table": report.table,
        "status": report.outcome().as_str(),
        "source_records": copied.source_records,
        "written": copied.written,
        "unchanged": copied.unchanged,
        "updated": 0,
        "conflicts": copied.conflicts,
        "rejected": rejected.map(|r| json!({"id": r.source_id, "reason": r.reason.as_str()})).collect::<Vec<_>>(),
        "defaults": {
            "category": defaults.category,
            "model_id": defaults.model_id,
            "query": defaults.query,
            "created_at": defaults.created_at,
        },
        "missing": verification.missing,
        "different": different.map(|d| json!({"id": d.source_id, "parts": d.parts})).collect::<Vec<_>>(),
        "digest_source": verification.digest_source,
        "digest_target": verification.digest_target,
        "warnings": warnings.map(|w| json!({"code": w.code.as_str(), "message": w.message})).collect::<Vec<_>>(),
        "seconds": report.elapsed.as_secs_f64(),
    })
}
