//! Observes all maintained tables.

use std::{collections::HashMap, time::Duration};

use records::Service;
use store::postgres::{
    Database, Table,
    jobs::{Job, JobStatus},
    maintenance::{ColumnStatistics, Ledger, TableHealth},
    schema::TableState,
    vector_index::Observation,
};
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::limits::Limits;

/// Tables of ours without vectors.
const OTHER_TABLES: [&str; 13] = [
    "evaluation_results",
    "maintenance_actions",
    "migration_jobs",
    "migration_rejects",
    "migration_replaced",
    "run_attempts",
    "run_queries",
    "run_tasks",
    "run_workers",
    "runs",
    "vector_index_plans",
    "vector_search_history",
    "vector_search_samples",
];

/// How long to wait before vacuuming again dead rows that a VACUUM could not remove.
const VACUUM_REST: Duration = Duration::from_secs(3_600);

/// The observed state of a database.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Time of the observation, in UTC.
    pub at: PrimitiveDateTime,
    /// Its tables: those with vectors, then the others, each by name.
    pub tables: Vec<ObservedTable>,
    /// Expired rows of ledgers.
    pub expired: Vec<Expired>,
    /// Rows of ledgers that never expire because of an invalid time, by table.
    pub timeless: Vec<(String, u64)>,
    /// Runs whose rows in `migration_jobs` cannot be read completely, with the reason.
    pub damaged: Vec<(Uuid, String)>,
}

/// The observed state of a table.
#[derive(Clone, Debug)]
pub struct ObservedTable {
    /// Rows, sizes, and autovacuum thresholds.
    pub health: TableHealth,
    /// Dead rows that a VACUUM within the last hour could not remove because of an open transaction.
    pub held_rows: u64,
    /// The vector index, for a table with vectors.
    pub vectors: Option<Vectors>,
    /// Whether a migration writes into it.
    pub migration: Migration,
}

/// The observed state of the searches of a table.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// Its vector indexes.
    pub observation: Observation,
    /// Statistics targets of columns used by filters.
    pub statistics: Vec<ColumnStatistics>,
}

/// Whether a migration writes into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// No migration.
    None,
    /// An interrupted migration, which may be resumed.
    Unfinished,
    /// A running migration.
    Running,
}

/// Expired rows of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The ledger.
    pub ledger: Ledger,
    /// They are older than this time, in UTC.
    pub before: PrimitiveDateTime,
    /// Number of rows.
    pub rows: u64,
}

/// Names of the maintained tables, existing or not; those with vectors first.
///
/// # Errors
/// When a statement fails, or a table does not have the expected columns.
pub async fn watched_tables(database: &Database) -> Result<Vec<String>, store::Error> {
    let mut names: Vec<String> = crate::tables(database).await?.into_iter().map(|table| table.name).collect();
    names.extend(OTHER_TABLES.map(str::to_owned));
    Ok(names)
}

/// Observes all tables, or only the table `only`.
///
/// # Errors
/// When a statement fails, or a table does not have the expected columns.
pub async fn observe(
    database: &Database,
    limits: &Limits,
    only: Option<&str>,
) -> Result<Observed, store::Error> {
    let is_meant = |name: &str| only.is_none_or(|only| only == name);
    let mut with_vectors: HashMap<String, Table> = HashMap::new();
    let mut names = Vec::new();
    for table in crate::tables(database).await? {
        if is_meant(&table.name) {
            names.push(table.name.clone());
            with_vectors.insert(table.name.clone(), table);
        }
    }
    names.extend(OTHER_TABLES.iter().filter(|name| is_meant(name)).map(|name| (*name).to_owned()));
    let running = migrating(database).await?;
    let jobs = database.jobs().await?;
    // An unknown state counts as unfinished.
    let may_write = |job: &&Job| job.status.is_unfinished() || job.status == JobStatus::Unknown;
    let unfinished: Vec<&str> = jobs.iter().filter(may_write).map(|job| job.table_name.as_str()).collect();
    let now = OffsetDateTime::now_utc();
    let at = PrimitiveDateTime::new(now.date(), now.time());
    let held = database.dead_rows_left(at - VACUUM_REST).await?;
    let mut tables = Vec::new();
    for health in database.table_health(&names).await? {
        let vectors = match with_vectors.get(&health.name) {
            Some(table) => match observe_vectors(database, table).await {
                // A Chroma client has deleted the collection.
                Err(_) if database.table_state(table).await? == TableState::Absent => continue,
                observed => Some(observed?),
            },
            None => None,
        };
        let migration = match () {
            () if running.contains(&health.name) => Migration::Running,
            () if unfinished.contains(&health.name.as_str()) => Migration::Unfinished,
            () => Migration::None,
        };
        // Zero if VACUUM removed all dead rows or did not run.
        let held_rows = held.iter().find(|(name, _)| *name == health.name).map_or(0, |(_, rows)| *rows);
        tables.push(ObservedTable { health, held_rows, vectors, migration });
    }
    let mut expired = Vec::new();
    for ledger in Ledger::ALL.into_iter().filter(|_| only.is_none()) {
        let before = at - limits.kept;
        expired.push(Expired { ledger, before, rows: database.count_expired(ledger, before).await? });
    }
    let mut timeless = Vec::new();
    if only.is_none() {
        for odd in database.odd_times(&Ledger::ALL.map(Ledger::as_str)).await? {
            let rows = odd.found.iter().map(|(_, rows)| rows).sum();
            timeless.push((odd.table, rows));
        }
    }
    let damaged = jobs
        .into_iter()
        .filter(|job| is_meant(&job.table_name))
        .filter_map(|job| Some((job.run_id, job.problems.into_iter().next()?)))
        .collect();
    Ok(Observed { at, tables, expired, timeless, damaged })
}

async fn observe_vectors(database: &Database, table: &Table) -> Result<Vectors, store::Error> {
    Ok(Vectors {
        observation: crate::observe::observe(database, table).await?,
        statistics: database.filter_statistics(table).await?,
    })
}

/// Tables into which a migration writes now.
pub(super) async fn migrating(database: &Database) -> Result<Vec<String>, store::Error> {
    let mut names: Vec<String> =
        Service::ALL.into_iter().map(|service| service.collection().to_owned()).collect();
    names.extend(database.jobs().await?.into_iter().map(|job| job.table_name));
    names.sort();
    names.dedup();
    database.migrating_tables(&names).await
}
