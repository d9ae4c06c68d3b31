//! Which tables there are.

use store::postgres::{Database, Table, jobs::Job, schema::TableState};

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

/// The tables that there should be: the services', and those that `jobs` made; by name.
pub(crate) fn known(jobs: &[Job]) -> Vec<Table> {
    let mut known: Vec<Table> = records::Service::ALL.map(Table::of).to_vec();
    for job in jobs {
        let is_known = known.iter().any(|table| table.name == job.table_name);
        // A definition of a newer version is that version's business.
        let table = Table::from_definition(job.table_name.clone(), &job.definition);
        known.extend(table.filter(|_| !is_known));
    }
    known.sort_by(|one, other| one.name.cmp(&other.name));
    known
}
