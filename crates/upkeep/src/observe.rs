//! Lists tables with vectors, and observes a table for its index plan.

use std::collections::HashSet;

use records::Service;
use store::postgres::{
    Database, Table, is_own_relation, jobs::Job, schema::TableState, vector_index::Observation,
};

use crate::plan::may_want_half;

/// Maximum tables of collections that are watched. They may be many thousands, of which most are small: an exact scan of them
/// is fast. With more, a pass over them would take minutes, and metrics megabytes.
const MOST_COLLECTIONS: u32 = 200;

/// The tables with vectors: those of services, and the largest ones of collections, which migrations or Chroma clients have
/// created; by name.
///
/// A table of a collection that does not have the expected columns is left out with a warning.
///
/// # Errors
/// When a statement fails, or a table of a service does not have the expected columns.
pub async fn tables(database: &Database) -> Result<Vec<Table>, store::Error> {
    tables_and(database, &[]).await
}

/// The same, and those of collections whose names are `wanted`, whatever their size.
///
/// A table of a collection that does not have the expected columns is left out with a warning, unless it is `wanted`.
///
/// # Errors
/// When a statement fails, or a table of a service, or a wanted one, does not have the expected columns.
pub async fn tables_and(database: &Database, wanted: &[String]) -> Result<Vec<Table>, store::Error> {
    let all = known_and(database, &database.jobs().await?, wanted).await?;
    let mut tables = Vec::new();
    for table in all {
        match database.table_state(&table).await {
            Ok(TableState::Absent) => {}
            Ok(_) => tables.push(table),
            Err(error @ store::Error::Schema { .. })
                if !is_of_service(&table) && !wanted.contains(&table.name) =>
            {
                log::warn!("table `{}` is neither watched nor maintained: {error}", table.name);
            }
            Err(error) => return Err(error),
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

/// The expected tables: those of services, and of those of collections the largest ones and the `wanted` ones; by name.
pub(crate) async fn known_and(
    database: &Database,
    jobs: &[Job],
    wanted: &[String],
) -> Result<Vec<Table>, store::Error> {
    let mut all = known(jobs);
    let mut names: HashSet<String> = all.iter().map(|table| table.name.clone()).collect();
    let collections = database.largest_collections(MOST_COLLECTIONS).await?;
    all.extend(collections.into_iter().filter(|table| names.insert(table.name.clone())));
    for name in wanted {
        if !names.contains(name) {
            all.extend(database.collection_table(name).await?);
        }
    }
    let others: Vec<String> =
        all.iter().filter(|table| !is_of_service(table)).map(|table| table.name.clone()).collect();
    if others.len() > MOST_COLLECTIONS as usize {
        let mut kept: HashSet<String> =
            database.largest_tables(&others, MOST_COLLECTIONS).await?.into_iter().collect();
        kept.extend(wanted.iter().cloned());
        all.retain(|table| is_of_service(table) || kept.contains(&table.name));
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn is_of_service(table: &Table) -> bool {
    Service::ALL.iter().any(|service| service.collection() == table.name)
}

/// The expected tables: those of services and those of `jobs`, by name.
pub(crate) fn known(jobs: &[Job]) -> Vec<Table> {
    let mut known: Vec<Table> = Service::ALL.map(Table::of).to_vec();
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
