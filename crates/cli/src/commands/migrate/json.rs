//! The report as JSON: one object, on failure too.

use std::time::Duration;

use migrate::{
    CollectionReport, ConflictReason, CopyReport, DatabaseReport, DatabaseState, GoneCollection, Report,
    UndoReport, Verification,
};
use serde_json::{Map, Value, json};
use store::postgres::collections::{CollectionName, Compared, Registered};
use uuid::Uuid;

use super::failure::of_migration;
use crate::exit::{Failure, chain};

pub(crate) fn to_json(sources: &[String], result: &Result<Report, Failure>, elapsed: Duration) -> Value {
    let source = if let [source] = sources { json!(source) } else { json!(sources) };
    match result {
        Ok(report) => {
            let verifications =
                || report.collections.iter().filter_map(|collection| collection.verification.as_ref());
            let sum = |count: fn(&Verification) -> u64| verifications().map(count).sum::<u64>();
            let verify = verifications().next().map(|_| {
                json!({
                    "matched": sum(|verification| verification.matched),
                    "missing": sum(|verification| verification.missing.len() as u64),
                    "different": sum(|verification| verification.different.len() as u64),
                    "search_parity": verifications().filter_map(|v| v.searches.parity).reduce(f64::min),
                })
            });
            // Collections without records and without a table leave nothing to undo, unless Chroma clients see them now.
            let is_registered = |one: &CollectionReport| {
                one.stopped.is_none() && one.registered.as_ref().is_some_and(Registered::is_changed)
            };
            let is_undoable = |one: &CollectionReport| !one.is_table_absent || is_registered(one);
            let is_new = |one: &DatabaseReport| one.state == DatabaseState::Registered(Registered::Created);
            let is_undoable =
                report.collections.iter().any(is_undoable) || report.databases.iter().any(is_new);
            let run_id = is_undoable.then(|| report.run_id.to_string());
            json!({
                "run_id": run_id,
                "resumed": report.is_resumed,
                "status": report.outcome().as_str(),
                "source": source,
                "collections": report.collections.iter().map(collection).collect::<Vec<_>>(),
                "databases": report.databases.iter().map(database).collect::<Vec<_>>(),
                "gone": report.gone.iter().map(gone).collect::<Vec<_>>(),
                "verify": verify,
                "versions": {
                    "panopticon": env!("CARGO_PKG_VERSION"),
                    "postgresql": report.server.postgresql,
                    "pgvector": report.server.pgvector,
                },
                "warnings": warnings(report),
                "seconds": elapsed.as_secs_f64(),
            })
        }
        Err(failure) => json!({
            "run_id": null,
            "status": "failed",
            "error": failure.message(),
            "hint": failure.hint(),
            "exit_code": failure.code() as u8,
            "source": source,
            "collections": [],
            "verify": null,
            "seconds": elapsed.as_secs_f64(),
        }),
    }
}

/// Warnings about the server, and about a source that was migrated whole.
fn warnings(report: &Report) -> Vec<String> {
    let of_source = report.warnings.iter();
    let of_source = of_source.map(|warning| format!("{}: {}", warning.code.as_str(), warning.message));
    report.server.warnings.iter().cloned().chain(of_source).collect()
}

/// A database without collections, or a tenant without databases.
fn database(report: &DatabaseReport) -> Value {
    let registered = match &report.state {
        DatabaseState::Registered(registered) => Some(registered),
        DatabaseState::Planned | DatabaseState::Found | DatabaseState::Missing => None,
    };
    json!({
        "tenant": report.database.tenant,
        "database": report.database.database,
        "served": served(registered),
        "missing": report.state == DatabaseState::Missing,
    })
}

/// A collection that the source no longer has.
fn gone(gone: &GoneCollection) -> Value {
    let GoneCollection { origin, table, .. } = gone;
    json!({
        "tenant": origin.tenant,
        "database": origin.database,
        "collection": origin.collection,
        "table": table,
    })
}

/// Whether Chroma clients see it.
fn served(registered: Option<&Registered>) -> Option<Value> {
    registered.map(|registered| {
        json!({
            "status": registered.as_str(),
            "updated": registered.updated(),
            "edited": registered.edited(),
            "reason": registered.reason(),
        })
    })
}

fn collection(report: &CollectionReport) -> Value {
    let mut object = Map::new();
    let (differences, unserved): (&[&str], _) = match &report.compared {
        Compared::Equal => (&[], None),
        Compared::Different(parts) => (parts, None),
        Compared::Deleted => (&[], Some("deleted")),
        Compared::NameTaken => (&[], Some("name_taken")),
    };
    let mut add = |value: Value| {
        if let Value::Object(members) = value {
            object.extend(members);
        }
    };
    add(json!({
        "run_id": (!report.is_table_absent).then(|| report.run_id.to_string()),
        "tenant": report.origin.tenant,
        "database": report.origin.database,
        "collection": report.origin.collection,
        "table": (!report.is_table_absent).then_some(&report.table),
        "status": report.outcome().as_str(),
        "source_records": report.source_records(),
        "discrepancies": report.discrepancies().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "index_failure": report.index_failure,
        "served": served(report.registered.as_ref()),
        "served_differences": differences,
        "unserved": unserved,
    }));
    if let Some(copied) = &report.copied {
        add(copy(copied));
    }
    if let Some(verification) = &report.verification {
        add(verified(verification, report.copied.is_some()));
    }
    if let Some(error) = &report.failure {
        let (code, hint) = of_migration(error);
        add(json!({"error": chain(error), "hint": hint, "exit_code": code as u8}));
    }
    let seconds = report.phases;
    add(json!({
        "phases": {
            "scan": seconds.scan.as_secs_f64(),
            "copy": seconds.copy.as_secs_f64(),
            "index": seconds.index.as_secs_f64(),
            "verify": seconds.verify.as_secs_f64(),
            "search": seconds.search.as_secs_f64(),
        },
    }));
    Value::Object(object)
}

fn copy(copied: &CopyReport) -> Value {
    let mut defaults: Map<String, Value> =
        copied.defaults.columns.iter().map(|(column, count)| (column.clone(), json!(count))).collect();
    defaults.insert("created_at".to_owned(), json!(copied.defaults.created_at));
    let conflicts = copied.conflicts.iter();
    let rejects = copied.rejects.iter();
    let warnings = copied.warnings.iter();
    let digest = (!copied.digest_source.is_empty()).then_some(copied.digest_source.as_str());
    json!({
        "written": copied.written,
        "unchanged": copied.unchanged,
        "updated": copied.updated,
        "deleted": copied.deleted,
        "stale": copied.stale,
        "conflicts": conflicts.map(|c| json!({"id": c.shown_id(), "reason": c.reason.as_str()})).collect::<Vec<_>>(),
        "rejected": rejects.map(|r| json!({"id": r.source_id, "reason": r.reason.as_str()})).collect::<Vec<_>>(),
        "defaults": defaults,
        "unread_timestamps": copied.defaults.unread_timestamps,
        "embedded": copied.embedded,
        "zero_vectors": copied.zero_vectors.count,
        "digest_source": digest,
        "digest_target": null,
        "warnings": warnings.map(|w| json!({"code": w.code.as_str(), "message": w.message})).collect::<Vec<_>>(),
    })
}

fn verified(verification: &Verification, has_copied: bool) -> Value {
    let different = verification.different.iter();
    let mut object = json!({
        "rows": verification.rows,
        "matched": verification.matched,
        "missing": verification.missing,
        "different": different
            .map(|d| json!({"id": d.source_id, "columns": d.columns, "edited": d.is_edited,
                "foreign": d.foreign.map(ConflictReason::as_str)}))
            .collect::<Vec<_>>(),
        "digest_source": verification.digest_source,
        "digest_target": verification.digest_target,
        "searches": {
            "count": verification.searches.count,
            "without_distance": verification.searches.without_distance,
            "parity": verification.searches.parity,
            "index_recall": verification.searches.index_recall,
        },
    });
    if !has_copied {
        let rejects = verification.rejects.iter();
        object["rejected"] = rejects
            .map(|r| json!({"id": r.source_id, "reason": r.reason.as_str()}))
            .collect::<Vec<_>>()
            .into();
        object["stale"] = json!(verification.stale);
    }
    object
}

/// What undoing a run has changed.
pub(super) fn undo_to_json(run: Uuid, result: &Result<UndoReport, Failure>) -> Value {
    match result {
        Ok(report) => {
            let tables = report.tables.iter().map(|table| {
                let CollectionName { tenant, database, name } = &table.collection;
                json!({
                    "table": table.table,
                    "tenant": tenant,
                    "database": database,
                    "collection": name,
                    "removed": table.undone.removed,
                    "restored": table.undone.restored,
                    "rejects_forgotten": table.undone.rejects_forgotten,
                    "table_dropped": table.undone.table_dropped,
                    "table_kept": table.undone.table_kept,
                    "kept": table.kept.iter().map(Uuid::to_string).collect::<Vec<_>>(),
                    "unchanged": table.undone.unchanged.iter().map(Uuid::to_string).collect::<Vec<_>>(),
                })
            });
            let gone = &report.unregistered;
            let databases = gone.databases.iter();
            let databases = databases.map(|(tenant, name)| json!({"tenant": tenant, "database": name}));
            let tenants = gone.tenants.iter().map(|tenant| json!({"tenant": tenant, "database": null}));
            let kept = report.descriptions.kept.iter();
            let kept = kept.map(|(kept, reason)| {
                let CollectionName { tenant, database, name } = kept;
                json!({"tenant": tenant, "database": database, "collection": name, "reason": reason.as_str()})
            });
            let named = |names: &[CollectionName]| -> Vec<Value> {
                let name = |CollectionName { tenant, database, name }: &CollectionName| json!({"tenant": tenant, "database": database, "collection": name});
                names.iter().map(name).collect()
            };
            json!({
                "run_id": run.to_string(),
                "status": if report.is_complete() { "undone" } else { "conflicts" },
                "tables": tables.collect::<Vec<_>>(),
                "unregistered": named(&report.unregistered.collections),
                "unregistered_databases": databases.chain(tenants).collect::<Vec<_>>(),
                "descriptions": {"restored": named(&report.descriptions.restored), "kept": kept.collect::<Vec<_>>()},
            })
        }
        Err(failure) => json!({
            "run_id": run.to_string(),
            "status": "failed",
            "error": failure.message(),
            "hint": failure.hint(),
            "exit_code": failure.code() as u8,
            "tables": [],
        }),
    }
}
