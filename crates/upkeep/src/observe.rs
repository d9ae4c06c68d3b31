//! Which tables there are.

use store::postgres::{Database, Table, schema::TableState};

/// The tables with vectors: the services', and those that migrations made; by name.
///
/// # Errors
/// When a statement fails, or a table has other columns than its name or its migration says.
pub async fn tables(database: &Database) -> Result<Vec<Table>, store::Error> {
    let mut known: Vec<Table> = records::Service::ALL.map(Table::of).to_vec();
    for job in database.jobs().await? {
        let is_known = known.iter().any(|table| table.name == job.table_name);
        // A definition of a newer version is that version's business.
        if let Some(table) = Table::from_definition(job.table_name, &job.definition).filter(|_| !is_known) {
            known.push(table);
        }
    }
    let mut tables = Vec::new();
    for table in known {
        if database.table_state(&table).await? != TableState::Absent {
            tables.push(table);
        }
    }
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tables)
}
