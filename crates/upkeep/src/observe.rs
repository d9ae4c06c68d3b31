//! Which tables there are, and what is known of one that its index is planned from.

use std::collections::HashSet;

use store::postgres::{
    Database, Table, is_own_relation, jobs::Job, schema::TableState, vector_index::Observation,
};

use crate::plan::may_want_half;

/// The tables with vectors: the services', and those that migrations made; by name.
///
/// # Errors
/// When a statement fails, or a table has other columns than its name or its migration says.
pub async fn tables(database: &Database) -> Result<Vec<Table>, store::Error> {
    let mut tables = Vec::new();
    for table in known(&database.jobs().await?) {
        if database.table_state(&table).await? != TableState::Absent {
            tables.push(table);
        }
    }
    Ok(tables)
}

/// Looks at `table`, which is there, and its vector indexes, as far as a plan needs it; where an index of half precision may
/// be planned, at every vector.
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

/// The tables that there should be: the services', and those that `jobs` made; by name.
pub(crate) fn known(jobs: &[Job]) -> Vec<Table> {
    let mut known: Vec<Table> = records::Service::ALL.map(Table::of).to_vec();
    let mut names: HashSet<String> = known.iter().map(|table| table.name.clone()).collect();
    for job in jobs {
        // A definition of a newer version is that version's business.
        let table = Table::from_definition(job.table_name.clone(), &job.definition);
        // An older version may have given a collection a name that the schema has taken since.
        let is_new = |table: &Table| !is_own_relation(&table.name) && names.insert(table.name.clone());
        known.extend(table.filter(is_new));
    }
    known.sort_by(|one, other| one.name.cmp(&other.name));
    known
}
