//! An examination and its findings as JSON.

use serde_json::{Map, Value, json};
use store::postgres::{EmbeddingHealth, LastSearches, ServerFacts, ServerState};
use time::PrimitiveDateTime;

use super::{Examination, Examined, Finding, NotExamined, Remedy, TableExamination};
use crate::json::observation_to_json;

/// An object with `server`, `replicas`, `tables`, `absent_tables` and `findings`. A part that was not examined is an object with
/// the reason under `unseen`.
pub fn to_json(examination: &Examination, findings: &[Finding]) -> Value {
    json!({
        "server": server_to_json(&examination.server),
        "replicas": examination.replicas.iter().map(replica_to_json).collect::<Vec<_>>(),
        "tables": examination.tables.iter().map(table_to_json).collect::<Vec<_>>(),
        "absent_tables": examination.absent,
        "findings": findings.iter().map(finding_to_json).collect::<Vec<_>>(),
    })
}

fn finding_to_json(finding: &Finding) -> Value {
    let remedy = match &finding.remedy {
        Remedy::Command(command) => json!({ "command": command }),
        Remedy::Sql(statements) => json!({ "sql": statements }),
        Remedy::Advice(advice) => json!({ "advice": advice }),
        Remedy::ForRows { advice, select } => json!({ "advice": advice, "select": select }),
    };
    json!({
        "severity": finding.severity.as_str(),
        "code": finding.code,
        "table": finding.table,
        "what": finding.what,
        "remedy": remedy,
    })
}

fn server_to_json(server: &ServerFacts) -> Value {
    let extensions = |(name, version): &(String, String)| (name.clone(), json!(version));
    let settings: Map<String, Value> =
        server.settings.iter().map(|setting| (setting.name.clone(), json!(setting.value))).collect();
    json!({
        "address": server.address,
        "role": server.role,
        "postgresql": server.postgresql,
        "pgvector": server.pgvector,
        "pgvector_package": server.pgvector_package,
        "encoding": server.session.encoding,
        "extensions": server.extensions.iter().map(extensions).collect::<Map<_, _>>(),
        "settings": settings,
        "machine_bytes": server.machine_bytes,
        "shared_memory_bytes": server.shared_memory_bytes,
        "is_standby": server.is_standby,
        "sees_sessions": server.sees_sessions,
        "oldest_transaction": server.oldest_transaction,
    })
}

fn replica_to_json(replica: &ServerState) -> Value {
    let settings = replica.settings.as_ref();
    json!({
        "address": replica.address,
        "problem": replica.problem,
        "lag_bytes": replica.lag.map(|lag| lag.bytes),
        "lag_seconds": replica.lag.map(|lag| lag.time.as_secs()),
        "hot_standby_feedback": settings.map(|settings| settings.hot_standby_feedback),
        "max_standby_streaming_delay": settings.map(|settings| &settings.max_standby_streaming_delay),
    })
}

fn table_to_json(examined: &TableExamination) -> Value {
    let facts = &examined.facts;
    let at = |time: Option<PrimitiveDateTime>| time.map(|time| time.to_string());
    json!({
        "table": examined.table.name,
        "dimension": examined.table.dimension,
        "misfits": examined.misfits,
        "estimated_rows": facts.estimated_rows,
        "table_bytes": facts.table_bytes,
        "index_bytes": facts.index_bytes,
        "dead_rows": facts.dead_rows,
        "last_vacuum": at(facts.last_vacuum),
        "last_analyze": at(facts.last_analyze),
        "has_autovacuum": facts.has_autovacuum,
        "invalid_indexes": facts.invalid_indexes,
        "observed": seen(&examined.indexes, observation_to_json),
        "searches": seen(&examined.searches, |searches| json!(searches)),
        "history": seen(&examined.history, |history| history.iter().map(history_to_json).collect()),
        "embeddings": seen(&examined.embeddings, embeddings_to_json),
        "recognised": seen(&examined.recognised, |recognised| json!(recognised)),
    })
}

fn history_to_json(last: &LastSearches) -> Value {
    json!({
        "filter_class": last.filter_class,
        "measured_at": last.measured_at.to_string(),
        "searches": last.searches,
        "latency_p50_ms": last.latency_p50_ms,
        "latency_p99_ms": last.latency_p99_ms,
        "recall": last.recall,
        "recall_high": last.recall_high,
        "target": last.target,
    })
}

fn embeddings_to_json(health: &EmbeddingHealth) -> Value {
    json!({
        "rows": health.rows,
        "share": health.share,
        "missing": health.missing,
        "zero": health.zero,
        "unit": health.unit,
        "other_lengths": health.other_lengths(),
        "lengths": health.lengths,
        "shared": health.shared,
    })
}

fn seen<T>(seen: &Examined<T>, shown: impl FnOnce(&T) -> Value) -> Value {
    let reason = match seen {
        Ok(found) => return shown(found),
        Err(NotExamined::Privilege(_)) => "privilege",
        Err(NotExamined::TooSlow(_)) => "too_slow",
        Err(NotExamined::Misfit) => "misfit",
        Err(NotExamined::NoModel) => "no_model",
    };
    json!({ "unseen": reason })
}
