//! Lists tables with vectors, and observes a table for its index plan.

use std::collections::HashSet;

use store::postgres::{
    Database, Table, is_own_relation, jobs::Job, schema::TableState, vector_index::Observation,
};

use crate::plan::may_want_half;

/// A collection of Chroma clients with fewer rows needs no upkeep: an exact scan is fast.
const GROWN_ROWS: u32 = 5_000;

/// The tables with vectors: those of services, those created by migrations, and those of Chroma clients that have grown,
/// by name.
///
/// # Errors
/// When a statement fails, or a table does not have the expected columns.
pub async fn tables(database: &Database) -> Result<Vec<Table>, store::Error> {
    let mut all = known(&database.jobs().await?);
    let names: HashSet<String> = all.iter().map(|table| table.name.clone()).collect();
    // Those of Chroma clients may be many thousands, of which most are small.
    let grown = database.grown_collections(GROWN_ROWS).await?;
    all.extend(grown.into_iter().filter(|table| !names.contains(&table.name)));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let mut tables = Vec::new();
    for table in all {
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
