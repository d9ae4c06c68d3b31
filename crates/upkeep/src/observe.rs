//! Lists tables with vectors, and observes a table for its index plan.

use std::collections::HashSet;

use store::postgres::{
    Database, Table, is_own_relation, jobs::Job, schema::TableState, vector_index::Observation,
};

use crate::plan::may_want_half;

/// The tables with vectors: those of services and those created by migrations, by name.
///
/// # Errors
/// When a statement fails, or a table does not have the expected columns.
pub async fn tables(database: &Database) -> Result<Vec<Table>, store::Error> {
    let mut tables = Vec::new();
    for table in known(&database.jobs().await?) {
        if database.table_state(&table).await? != TableState::Absent {
            tables.push(table);
        }
    }
    Ok(tables)
}

/// Observes the existing `table` and its vector indexes, as far as a plan needs it; reads every vector if a
/// half-precision index may be planned.
///
/// # Errors
/// When a statement fails.
pub async fn observe(database: &Database, table: &Table) -> Result<Observation, store::Error> {
    let mut observation = database.observe_indexes(table).await?;
    if may_want_half(&observation) {
        observation.exceeds_half = database.exceeds_half_precision(table).await?;
    }
    Ok(observation)
}

/// The expected tables: those of services and those of `jobs`, by name.
pub(crate) fn known(jobs: &[Job]) -> Vec<Table> {
    let mut known: Vec<Table> = records::Service::ALL.map(Table::of).to_vec();
    let mut names: HashSet<String> = known.iter().map(|table| table.name.clone()).collect();
    for job in jobs {
        // Definitions of newer versions are skipped.
        let table = Table::from_definition(job.table_name.clone(), &job.definition);
        // An older version may have used a table name that the schema has since reserved.
        let is_new = |table: &Table| !is_own_relation(&table.name) && names.insert(table.name.clone());
        known.extend(table.filter(is_new));
    }
    known.sort_by(|one, other| one.name.cmp(&other.name));
    known
}
