//! Decides what is done to keep tables in order. A pure function: the same state, policy and limits give the same plan,
//! and once it is carried out the next plan has nothing to do.

use std::fmt;

use time::PrimitiveDateTime;

use super::{
    limits::Limits,
    observe::{Expired, Migration, Observed, ObservedTable, Vectors},
};
use crate::{
    plan::{EXACT_SCAN_ROWS, Tuning},
    policy::Policy,
};
use store::postgres::{
    maintenance::{ColumnStatistics, TableHealth},
    vector_index::{IndexDefinition, IndexKind, VectorIndex},
};

/// A search by an index walks over entries of dead rows, and the planner's estimates decide how a filtered search is
/// made: a table with vectors is put in order at this share of what autovacuum waits for.
const BEFORE_AUTOVACUUM: f64 = 0.5;
/// Another table is left to autovacuum, unless it does not come.
const AFTER_AUTOVACUUM: f64 = 2.0;
/// From this share of dead entries on, a graph is built anew instead of mended by VACUUM. Of 20,000 vectors VACUUM took
/// 4.9 s with 5 % dead ones, 7.2 s with 20 % and 12.5 s with 50 %; REINDEX and then VACUUM 6.0 s, 3.5 s and 2.0 s.
const DEAD_SHARE_OF_REBUILD: f64 = 0.2;
/// From these rows on, so many entries are kept of a column that filters use, one for each thousand or two: a search
/// measures some thousands of matches one by one, and PostgreSQL's estimate says whether they are so few. With the server's
/// 100 it cannot tell a hundredth of a million rows from none.
const STATISTICS: [(u64, u32); 3] = [(1_000_000, 1_000), (500_000, 500), (200_000, 200)];

/// What is to be done in a database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Planned>,
    /// What would be done, but is not, and why.
    pub left_alone: Vec<LeftAlone>,
}

/// An action and why it is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The table.
    pub table: String,
    /// What is done to it.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// A table that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// The table.
    pub table: String,
    /// Why.
    pub reason: String,
}

/// What is done to a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Rows from before a time are deleted.
    Expire(Expired),
    /// A vector index is built anew as it is.
    Reindex {
        /// Its name.
        index: String,
        /// What it is.
        definition: IndexDefinition,
    },
    /// Dead rows and their index entries are removed, and statistics refreshed.
    Vacuum,
    /// Vector indexes are built, dropped or renamed, or search settings measured.
    Index(crate::Plan),
    /// ANALYZE keeps more of these columns from now on, and all statistics are refreshed.
    Statistics(Vec<ColumnStatistics>),
}

impl Action {
    /// Its name, as stored.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Expire(_) => "expire",
            Self::Reindex { .. } => "reindex",
            Self::Vacuum => "vacuum",
            Self::Index(_) => "index",
            Self::Statistics(_) => "statistics",
        }
    }

    /// Whether it may read all of its table, and so waits for quiet hours.
    pub fn is_heavy(&self) -> bool {
        match self {
            Self::Expire(_) | Self::Statistics(_) => false,
            Self::Reindex { .. } | Self::Vacuum | Self::Index(_) => true,
        }
    }

    /// Whether it may begin at `now`, in UTC.
    pub fn may_begin(&self, limits: &Limits, now: PrimitiveDateTime) -> bool {
        !self.is_heavy() || limits.quiet_hours.is_none_or(|hours| hours.contains(now.time()))
    }
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    fn leave(&mut self, table: &str, reason: impl Into<String>) {
        self.left_alone.push(LeftAlone { table: table.to_owned(), reason: reason.into() });
    }
}

/// Plans the maintenance of the observed database.
pub fn plan(observed: &Observed, policy: &Policy, limits: &Limits) -> Plan {
    let mut plan = Plan::default();
    for expired in observed.expired.iter().filter(|expired| expired.rows > 0) {
        plan.actions.push(Planned {
            table: expired.ledger.as_str().to_owned(),
            action: Action::Expire(*expired),
            reason: format!("{} rows are from before {}", expired.rows, expired.before.date()),
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
            plan.leave(name, "a VACUUM works on it");
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

/// What is done to a table, in this order.
fn of_table(plan: &mut Plan, table: &ObservedTable, policy: &Policy) -> Vec<(Action, String)> {
    let ObservedTable { health, vectors, migration, .. } = table;
    let vacuum = vacuum_reason(table);
    if vacuum.is_none() && table.held_rows > 0 {
        let held = table.held_rows;
        plan.leave(
            &health.name,
            format!("VACUUM has left {held} dead rows, which an open transaction may see"),
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
            if let Some((dead, reason)) = dead.and_then(|_| dead_graph(vectors, health)) {
                let (index, definition) = (dead.name.clone(), dead.definition);
                let tuning = Tuning { index: index.clone(), reason: "it is built anew".to_owned() };
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
    // Last, since it measures searches as they will be.
    if let Some(tuned) = index {
        let reason = tuned.tuning.as_ref().expect("the plan is not empty").reason.clone();
        actions.push((Action::Index(tuned), reason));
    }
    actions
}

/// Why `table` should be vacuumed, if it should.
fn vacuum_reason(table: &ObservedTable) -> Option<String> {
    let TableHealth { rows, dead_rows, inserted, autovacuum, .. } = &table.health;
    let factor = factor(table);
    // The others would be left again.
    let dead_rows = dead_rows.saturating_sub(table.held_rows);
    if dead_rows as f64 > factor * autovacuum.dead.of(*rows) {
        return Some(format!("{dead_rows} dead rows beside {rows}: {}", instead_of_autovacuum(table)));
    }
    // The rows alone: whether there are entries to remove makes no difference.
    let factor = if table.vectors.is_some() { 1.0 } else { factor };
    let threshold = autovacuum.inserted?.of(*rows);
    (*inserted as f64 > factor * threshold)
        .then(|| format!("{inserted} rows inserted, {rows} in all: {}", instead_of_autovacuum(table)))
}

/// At which share of autovacuum's thresholds something is done.
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
        (None, true) => "autovacuum does not come to it",
    }
}

/// The graph that is to be built anew before its table is vacuumed, if one is, and why.
fn dead_graph<'a>(vectors: &'a Vectors, health: &TableHealth) -> Option<(&'a VectorIndex, String)> {
    let is_graph =
        |index: &&VectorIndex| index.is_searched() && matches!(index.definition.kind, IndexKind::Hnsw { .. });
    let graph = vectors.observation.indexes.iter().find(is_graph)?;
    let (rows, dead) = (vectors.observation.rows as f64, health.dead_rows as f64);
    let share = dead / (rows + dead);
    (vectors.observation.rows >= EXACT_SCAN_ROWS && share >= DEAD_SHARE_OF_REBUILD).then(|| {
        let percent = share * 100.0;
        let reason = format!(
            "{percent:.0} % of the entries of `{}` are dead, which VACUUM would remove more slowly than it is built",
            graph.name
        );
        (graph, reason)
    })
}

/// The columns of which more is to be kept, or none where only what is kept is out of date; and why.
fn statistics(table: &ObservedTable, is_vacuumed: bool) -> Option<(Vec<ColumnStatistics>, String)> {
    let TableHealth { rows, changed, autovacuum, .. } = &table.health;
    let wanted = STATISTICS.into_iter().find(|(from, _)| rows >= from).map(|(_, target)| target);
    let columns: Vec<ColumnStatistics> = wanted.map_or_else(Vec::new, |wanted| {
        let vectors = table.vectors.iter().flat_map(|vectors| &vectors.statistics);
        vectors
            // None at all is somebody's will.
            .filter(|column| column.target > 0 && column.target < wanted)
            .map(|column| ColumnStatistics { target: wanted, ..column.clone() })
            .collect()
    });
    if !columns.is_empty() {
        let names: Vec<String> = columns.iter().map(|kept| kept.column.describe()).collect();
        let reason = format!(
            "of {} too little is kept to tell how many of {rows} rows a filter leaves",
            names.join(", ")
        );
        return Some((columns, reason));
    }
    let is_outdated = *changed as f64 > factor(table) * autovacuum.changed.of(*rows);
    // VACUUM refreshes them too.
    (is_outdated && !is_vacuumed).then(|| {
        let reason = format!(
            "{changed} changes since statistics were gathered, {rows} rows in all: {}",
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
        for LeftAlone { table, reason } in &self.left_alone {
            writeln!(f, "{table}: left alone, since {reason}")?;
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
        write!(f, "{table}: {action}, since {reason}")
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expire(_) => f.write_str("delete what has expired"),
            Self::Reindex { index, .. } => write!(f, "build `{index}` anew"),
            Self::Vacuum => f.write_str("vacuum"),
            Self::Index(plan) => match (plan.built(), &plan.tuning) {
                (Some(definition), _) => write!(f, "build an index, {definition}"),
                (None, Some(tuning)) if plan.changes.is_empty() => {
                    write!(f, "measure the search settings of `{}`", tuning.index)
                }
                (None, _) => f.write_str("put its indexes in order"),
            },
            Self::Statistics(columns) if columns.is_empty() => f.write_str("refresh statistics"),
            Self::Statistics(columns) => {
                let kept = |ColumnStatistics { column, target }: &ColumnStatistics| {
                    format!("{target} entries of {}", column.describe())
                };
                let columns: Vec<String> = columns.iter().map(kept).collect();
                write!(f, "keep {}", columns.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests;
