//! Metrics of table maintenance.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use records::lock::Mutex;

/// Buckets from the deletion of a few rows to the build of a large HNSW index.
const SECONDS: [f64; 9] = [0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// The maintenance metrics of a process. Clones share the counters.
#[derive(Clone, Debug)]
pub struct MaintenanceMetrics {
    actions: Family<ActionLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    rows: Family<TableLabels, Gauge<f64, AtomicU64>>,
    dead_rows: Family<TableLabels, Gauge<f64, AtomicU64>>,
    bytes: Family<PartLabels, Gauge<f64, AtomicU64>>,
    /// The tables with a state. Locked while it is set.
    shown: Arc<Mutex<HashSet<String>>>,
}

/// The observed state of a table.
#[derive(Clone, Copy, Debug)]
pub struct ObservedTable<'a> {
    /// The table's name.
    pub table: &'a str,
    /// Estimated number of rows.
    pub rows: u64,
    /// Rows that VACUUM will remove.
    pub dead_rows: u64,
    /// Size without indexes.
    pub heap_bytes: u64,
    /// Size of its indexes.
    pub index_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    table: String,
    part: &'static str,
}

impl MaintenanceMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self {
            actions: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            rows: Family::default(),
            dead_rows: Family::default(),
            bytes: Family::default(),
            shown: Arc::default(),
        };
        registry.register("maintenance_actions", "Maintenance actions", metrics.actions.clone());
        registry.register_with_unit(
            "maintenance_duration",
            "Duration of maintenance actions, with any outcome",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("table_rows", "Estimated rows of a table", metrics.rows.clone());
        registry.register("table_dead_rows", "Rows that VACUUM will remove", metrics.dead_rows.clone());
        registry.register("table_bytes", "Size of a table and of its indexes", metrics.bytes.clone());
        metrics
    }

    /// Counts a finished action.
    pub fn action_ended(&self, action: &'static str, outcome: &'static str, took: Duration) {
        self.actions.get_or_create(&ActionLabels { action, outcome }).inc();
        self.durations.get_or_create(&DurationLabels { action }).observe(took.as_secs_f64());
    }

    /// Records the state of all tables. Others are forgotten, so that deleted ones are not shown.
    pub fn set_tables<'a>(&self, tables: impl IntoIterator<Item = ObservedTable<'a>>) {
        let (mut now, mut shown) = (HashSet::new(), self.shown.lock());
        for table in tables {
            now.insert(table.table.to_owned());
            self.set_table(table);
        }
        for table in shown.difference(&now) {
            self.rows.remove(&TableLabels { table: table.clone() });
            self.dead_rows.remove(&TableLabels { table: table.clone() });
            for part in ["heap", "indexes"] {
                self.bytes.remove(&PartLabels { table: table.clone(), part });
            }
        }
        *shown = now;
    }

    fn set_table(&self, seen: ObservedTable<'_>) {
        let table = seen.table.to_owned();
        self.rows.get_or_create(&TableLabels { table: table.clone() }).set(seen.rows as f64);
        self.dead_rows.get_or_create(&TableLabels { table: table.clone() }).set(seen.dead_rows as f64);
        for (part, bytes) in [("heap", seen.heap_bytes), ("indexes", seen.index_bytes)] {
            self.bytes.get_or_create(&PartLabels { table: table.clone(), part }).set(bytes as f64);
        }
    }
}
