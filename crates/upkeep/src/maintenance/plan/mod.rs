//! Plans the maintenance of tables. A pure function: the same state, policy and limits give the same plan, and once
//! it is executed the next plan is empty.

use std::fmt;

use serde::Serialize;
use time::PrimitiveDateTime;

use super::{
    limits::Limits,
    observe::{Expired, Migration, Observed, ObservedTable, Vectors},
};
use crate::{
    plan::{Tuning, rebuilt},
    policy::Policy,
};
use store::postgres::{
    maintenance::{ColumnStatistics, TableHealth},
    vector_index::{IndexDefinition, IndexKind, VectorIndex},
};

/// Index scans visit entries of dead rows, and the planner's estimates decide how filtered searches are executed:
/// tables with vectors are maintained at this fraction of autovacuum's thresholds.
const BEFORE_AUTOVACUUM: f64 = 0.5;
/// Other tables are left to autovacuum, unless it is not keeping up.
const AFTER_AUTOVACUUM: f64 = 2.0;
/// From this share of dead entries, an HNSW index is rebuilt instead of repaired by VACUUM. With 20,000 vectors,
/// VACUUM took 4.9 s with 5 % dead ones, 7.2 s with 20 % and 12.5 s with 50 %; REINDEX and then VACUUM took 6.0 s,
/// 3.5 s and 2.0 s.
const DEAD_SHARE_OF_REBUILD: f64 = 0.2;
/// Minimum rows and statistics target of columns used by filters, one entry per one or two thousand rows: searches
/// use an exact scan if a filter matches at most some thousands of rows, which PostgreSQL estimates. With the default
/// target of 100, it cannot distinguish 1 % of a million rows from none.
const STATISTICS: [(u64, u32); 3] = [(1_000_000, 1_000), (500_000, 500), (200_000, 200)];

/// A maintenance plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Actions, in order of execution.
    pub actions: Vec<Planned>,
    /// Skipped tables and reasons.
    pub left_alone: Vec<SkippedTable>,
}

/// A planned action with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The table.
    pub table: String,
    /// The action.
    pub action: Action,
    /// The reason.
    pub reason: String,
}

/// A skipped table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedTable {
    /// The table.
    pub table: String,
    /// The reason.
    pub reason: String,
}

/// A maintenance action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Deletes expired rows.
    Expire(Expired),
    /// Rebuilds a vector index.
    Reindex {
        /// Its name.
        index: String,
        /// Its definition afterwards.
        definition: IndexDefinition,
    },
    /// Removes dead rows and their index entries, and refreshes statistics.
    Vacuum,
    /// Builds, drops or renames vector indexes, or measures search parameters.
    Index(crate::Plan),
    /// Raises the statistics targets of these columns, and refreshes all statistics.
    Statistics(Vec<ColumnStatistics>),
}

impl Action {
    /// Its stored name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Expire(_) => "expire",
            Self::Reindex { .. } => "reindex",
            Self::Vacuum => "vacuum",
            Self::Index(_) => "index",
            Self::Statistics(_) => "statistics",
        }
    }

    /// Whether it may read the complete table, and so waits for quiet hours.
    pub fn is_heavy(&self) -> bool {
        match self {
            Self::Expire(_) | Self::Statistics(_) => false,
            Self::Reindex { .. } | Self::Vacuum | Self::Index(_) => true,
        }
    }

    /// Whether it may start at `now`, in UTC.
    pub fn may_begin(&self, limits: &Limits, now: PrimitiveDateTime) -> bool {
        !self.is_heavy() || limits.quiet_hours.is_none_or(|hours| hours.contains(now.time()))
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    fn leave(&mut self, table: &str, reason: impl Into<String>) {
        self.left_alone.push(SkippedTable { table: table.to_owned(), reason: reason.into() });
    }
}

/// Plans the maintenance of the observed database.
pub fn plan(observed: &Observed, policy: &Policy, limits: &Limits) -> Plan {
    let mut plan = Plan::default();
    for expired in observed.expired.iter().filter(|expired| expired.rows > 0) {
        plan.actions.push(Planned {
            table: expired.ledger.as_str().to_owned(),
            action: Action::Expire(*expired),
            reason: format!("{} rows are older than {}", expired.rows, expired.before.date()),
        });
    }
    for (table, rows) in &observed.timeless {
        plan.leave(
            table,
            format!("{rows} of its times are missing, infinite, before the year 1 or after 9999: see `panopticon doctor`"),
        );
    }
    for (run, problem) in &observed.damaged {
        plan.leave(
            "migration_jobs",
            format!("the row of run {run} cannot be read completely: {problem}: see `panopticon doctor`"),
        );
    }
    for table in &observed.tables {
        let name = &table.health.name;
        if table.migration == Migration::Running {
            plan.leave(name, "a migration writes into it");
            continue;
        }
        if table.health.is_being_vacuumed {
            plan.leave(name, "a VACUUM is running on it");
            continue;
        }
        let (allowed, late): (Vec<_>, Vec<_>) = of_table(&mut plan, table, policy)
            .into_iter()
            .map(|(action, reason)| Planned { table: name.clone(), action, reason })
            .partition(|planned| planned.action.may_begin(limits, observed.at));
        plan.actions.extend(allowed);
        for Planned { action, reason, .. } in late {
            plan.leave(name, format!("{} waits for the quiet hours: {reason}", action.as_str()));
        }
    }
    plan
}

/// The actions for a table, in order of execution.
fn of_table(plan: &mut Plan, table: &ObservedTable, policy: &Policy) -> Vec<(Action, String)> {
    let ObservedTable { health, vectors, migration, .. } = table;
    let vacuum = vacuum_reason(table);
    if vacuum.is_none() && table.held_rows > 0 {
        let held = table.held_rows;
        plan.leave(
            &health.name,
            format!("VACUUM could not remove {held} dead rows, which an open transaction may still see"),
        );
    }
    let mut actions = Vec::new();
    let mut index = None;
    if let Some(vectors) = vectors {
        let mut planned = crate::plan(&vectors.observation, policy);
        if *migration == Migration::Unfinished && !planned.is_empty() {
            plan.leave(&health.name, "its index waits for an unfinished migration: run it again, or undo it");
        } else {
            let dead = vacuum.as_ref().filter(|_| planned.built().is_none());
            if let Some((dead, reason)) = dead.and_then(|_| dead_graph(vectors, health, policy)) {
                let index = dead.name.clone();
                let definition = rebuilt(dead, &vectors.observation, policy);
                let tuning = Tuning { index: index.clone(), reason: "it is rebuilt".to_owned() };
                planned.tuning.get_or_insert(tuning);
                actions.push((Action::Reindex { index, definition }, reason));
            }
            index = (!planned.is_empty()).then_some(planned);
        }
    }
    if let Some(built) = index.take_if(|index| !index.changes.is_empty()) {
        let reason = built.reasons.join("; ");
        actions.push((Action::Index(built), reason));
    }
    let is_vacuumed = vacuum.is_some();
    actions.extend(vacuum.map(|reason| (Action::Vacuum, reason)));
    if let Some((columns, reason)) = statistics(table, is_vacuumed) {
        actions.push((Action::Statistics(columns), reason));
    }
    // Last, since it must measure the final state.
    if let Some(tuned) = index {
        let reason = tuned.tuning.as_ref().expect("the plan is not empty").reason.clone();
        actions.push((Action::Index(tuned), reason));
    }
    actions
}

/// Why `table` needs a vacuum, if it does.
fn vacuum_reason(table: &ObservedTable) -> Option<String> {
    let TableHealth { rows, dead_rows, inserted, autovacuum, .. } = &table.health;
    let factor = factor(table);
    // VACUUM still could not remove the others.
    let dead_rows = dead_rows.saturating_sub(table.held_rows);
    if dead_rows as f64 > factor * autovacuum.dead.of(*rows) {
        return Some(format!(
            "there are {dead_rows} dead rows and {rows} live ones: {}",
            instead_of_autovacuum(table)
        ));
    }
    // Inserted rows only, whether or not there are dead entries.
    let factor = if table.vectors.is_some() { 1.0 } else { factor };
    let threshold = autovacuum.inserted?.of(*rows);
    (*inserted as f64 > factor * threshold)
        .then(|| format!("{inserted} rows were inserted, {rows} in total: {}", instead_of_autovacuum(table)))
}

/// The fraction of autovacuum's thresholds at which a table is maintained.
fn factor(table: &ObservedTable) -> f64 {
    match (&table.vectors, table.health.autovacuum.is_on) {
        (Some(_), _) => BEFORE_AUTOVACUUM,
        (None, true) => AFTER_AUTOVACUUM,
        (None, false) => 1.0,
    }
}

fn instead_of_autovacuum(table: &ObservedTable) -> &'static str {
    match (&table.vectors, table.health.autovacuum.is_on) {
        (_, false) => "autovacuum is off for it",
        (Some(_), true) => "searches cannot wait for autovacuum",
        (None, true) => "autovacuum is not keeping up",
    }
}

/// The HNSW index to rebuild before its table is vacuumed, if any, and the reason.
fn dead_graph<'a>(
    vectors: &'a Vectors,
    health: &TableHealth,
    policy: &Policy,
) -> Option<(&'a VectorIndex, String)> {
    let is_graph =
        |index: &&VectorIndex| index.is_searched() && matches!(index.definition.kind, IndexKind::Hnsw { .. });
    let graph = vectors.observation.indexes.iter().find(is_graph)?;
    let (rows, dead) = (vectors.observation.rows as f64, health.dead_rows as f64);
    let share = dead / (rows + dead);
    (vectors.observation.rows >= policy.exact_scan_rows && share >= DEAD_SHARE_OF_REBUILD).then(|| {
        let percent = share * 100.0;
        let reason = format!(
            "{percent:.0} % of the entries of `{}` are dead, and a rebuild is faster than VACUUM",
            graph.name
        );
        (graph, reason)
    })
}

/// The columns that need a higher statistics target, or none if statistics are only outdated; and the reason.
fn statistics(table: &ObservedTable, is_vacuumed: bool) -> Option<(Vec<ColumnStatistics>, String)> {
    let TableHealth { rows, changed, autovacuum, .. } = &table.health;
    let wanted = STATISTICS.into_iter().find(|(from, _)| rows >= from).map(|(_, target)| target);
    let columns: Vec<ColumnStatistics> = wanted.map_or_else(Vec::new, |wanted| {
        let vectors = table.vectors.iter().flat_map(|vectors| &vectors.statistics);
        vectors
            // A target of 0 was set deliberately.
            .filter(|column| column.target > 0 && column.target < wanted)
            .map(|column| ColumnStatistics { target: wanted, ..column.clone() })
            .collect()
    });
    if !columns.is_empty() {
        let names: Vec<String> = columns.iter().map(|kept| kept.column.describe()).collect();
        let reason = format!(
            "the statistics of {} are too coarse to estimate the selectivity of filters on {rows} rows",
            names.join(", ")
        );
        return Some((columns, reason));
    }
    let is_outdated = *changed as f64 > factor(table) * autovacuum.changed.of(*rows);
    // VACUUM (ANALYZE) refreshes statistics too.
    (is_outdated && !is_vacuumed).then(|| {
        let reason = format!(
            "there were {changed} changes since statistics were gathered, {rows} rows in total: {}",
            instead_of_autovacuum(table)
        );
        (Vec::new(), reason)
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.actions {
            writeln!(f, "{planned}")?;
        }
        for SkippedTable { table, reason } in &self.left_alone {
            writeln!(f, "{table}: skipped, because {reason}")?;
        }
        if self.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        Ok(())
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, action, reason } = self;
        write!(f, "{table}: {action}, because {reason}")
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expire(_) => f.write_str("delete expired rows"),
            Self::Reindex { index, .. } => write!(f, "rebuild `{index}`"),
            Self::Vacuum => f.write_str("vacuum"),
            Self::Index(plan) => match (plan.built(), &plan.tuning) {
                (Some(definition), _) => write!(f, "build an index, {definition}"),
                (None, Some(tuning)) if plan.changes.is_empty() => {
                    write!(f, "measure the search parameters of `{}`", tuning.index)
                }
                (None, _) => f.write_str("fix its indexes"),
            },
            Self::Statistics(columns) if columns.is_empty() => f.write_str("refresh statistics"),
            Self::Statistics(columns) => {
                let kept = |ColumnStatistics { column, target }: &ColumnStatistics| {
                    format!("statistics target {target} of {}", column.describe())
                };
                let columns: Vec<String> = columns.iter().map(kept).collect();
                write!(f, "set {}", columns.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests;
