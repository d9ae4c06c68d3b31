//! Observations, plans and search parameters as JSON, for storage and for programs.

use serde_json::{Value, json};
use store::postgres::vector_index::{
    IndexChange, IndexDefinition, IndexKind, IndexState, IndexUse, MeasuredSetting, Observation, Precision,
    VectorIndex,
};

use crate::plan::{Plan, TargetIndex};

/// An observation.
pub fn observation_to_json(observation: &Observation) -> Value {
    json!({
        "table": observation.table.name,
        "dimension": observation.table.dimension,
        "space": observation.table.space.as_str(),
        "rows": observation.rows,
        "dead_rows": observation.dead_rows,
        "writes_per_second": observation.writes_per_second,
        "table_bytes": observation.table_bytes,
        "indexes": observation.indexes.iter().map(index_to_json).collect::<Vec<_>>(),
        "memory": observation.memory,
        "cores": observation.cores,
        "pgvector": observation.pgvector,
    })
}

/// A plan.
pub fn plan_to_json(plan: &Plan) -> Value {
    let changes: Vec<Value> = plan
        .changes
        .iter()
        .map(|change| match change {
            IndexChange::Drop { name } => json!({"change": "drop", "index": name}),
            IndexChange::Build { name, definition } => {
                json!({"change": "build", "index": name, "definition": definition_to_json(*definition)})
            }
            IndexChange::Rename { from, to } => json!({"change": "rename", "index": from, "to": to}),
            IndexChange::SetConstruction { name, ef_construction } => {
                json!({"change": "set_ef_construction", "index": name, "ef_construction": ef_construction})
            }
        })
        .collect();
    json!({
        "table": plan.table,
        "rows": plan.rows,
        "wanted": match plan.wanted {
            TargetIndex::Exact => json!("none"),
            TargetIndex::TooWide => json!("too_wide"),
            TargetIndex::OutOfRange => json!("out_of_range"),
            TargetIndex::AsItIs => json!("as_it_is"),
            TargetIndex::Index(definition) => definition_to_json(definition),
        },
        "reasons": plan.reasons,
        "changes": changes,
        "tuning": plan.tuning,
    })
}

/// A measured search parameter.
pub fn setting_to_json(setting: &MeasuredSetting) -> Value {
    json!({
        "filtering": setting.filtering.as_str(),
        "depth": setting.depth,
        "candidates": setting.candidates,
        "target": setting.target,
        "recall": setting.recall,
        "recall_low": setting.recall_low,
        "latency_ms": setting.latency_ms,
        "sampled": setting.sampled,
        "rows": setting.rows,
        "measured_at": setting.measured_at.to_string(),
    })
}

fn index_to_json(index: &VectorIndex) -> Value {
    json!({
        "name": index.name,
        "definition": definition_to_json(index.definition),
        "state": match index.state {
            IndexState::Valid => "valid",
            IndexState::Building => "building",
            IndexState::Invalid => "invalid",
        },
        "serves_searches": index.service == IndexUse::Searches,
        "size_bytes": index.size_bytes,
        "measured": index.measured.iter().map(setting_to_json).collect::<Vec<_>>(),
    })
}

fn definition_to_json(definition: IndexDefinition) -> Value {
    let precision = match definition.precision {
        Precision::Full => "full",
        Precision::Half => "half",
    };
    match definition.kind {
        IndexKind::Ivfflat { lists } => json!({"type": "ivfflat", "lists": lists, "precision": precision}),
        IndexKind::Hnsw { m, ef_construction, ef_insert } => json!({
            "type": "hnsw",
            "m": m,
            "ef_construction": ef_construction,
            "ef_insert": ef_insert,
            "precision": precision,
        }),
    }
}
