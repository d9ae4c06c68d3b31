//! Undoes a run: removes the rows that it inserted, and restores rows that it changed or deleted.

use std::collections::{HashMap, HashSet};

use store::postgres::{
    Access, Database, Table,
    collections::{CollectionName, RestoredDescriptions, Unregistered},
    jobs::{Job, JobStatus, Origin},
    undo::UndoResult,
};
use uuid::Uuid;

use crate::{Error, options::EditedRows, served::changed_here};

/// The report of an undone run.
#[derive(Clone, Debug)]
pub struct UndoReport {
    /// The run.
    pub run_id: Uuid,
    /// Each of its tables.
    pub tables: Vec<UndoneTable>,
    /// What Chroma clients saw and no longer see.
    pub unregistered: Unregistered,
    /// Names, metadata and configurations of collections that the run had changed.
    pub descriptions: RestoredDescriptions,
}

impl UndoReport {
    /// Whether the run was undone completely.
    pub fn is_complete(&self) -> bool {
        self.descriptions.kept.is_empty()
            && self.tables.iter().all(|table| table.kept.is_empty() && table.undone.unchanged.is_empty())
    }
}

/// The outcome for one table.
#[derive(Clone, Debug)]
pub struct UndoneTable {
    /// Its name.
    pub table: String,
    /// The migrated collection.
    pub collection: CollectionName,
    /// What was changed.
    pub undone: UndoResult,
    /// Rows that were edited since the run and were kept.
    pub kept: Vec<Uuid>,
}

/// Undoes `run`.
///
/// # Errors
/// When the run does not exist, later runs depend on it, a migration is in progress, or the database fails. Each
/// table is then either unchanged or undone completely, and the same call resumes.
pub async fn undo(database: &Database, run: Uuid, edited_rows: EditedRows) -> Result<UndoReport, Error> {
    // Row-level security could hide runs, which would be unknown, and rows, which would stay or be dropped with their
    // table.
    database.check_bookkeeping_access().await?;
    let jobs = database.jobs().await?;
    let members = database.jobs_of_group(run).await?;
    let standing = |job: &&Job| job.status != JobStatus::Undone;
    let is_meant = |job: &&Job| job.run_id == run || members.contains(&job.id);
    let mut of_run: Vec<Job> = jobs.iter().filter(standing).filter(is_meant).cloned().collect();
    let registering = database.registering_runs().await?;
    if of_run.is_empty() && !registering.contains(&run) {
        if jobs.iter().any(|job| is_meant(&job)) {
            return Err(Error::AlreadyUndone { run });
        }
        return Err(Error::UnknownRun { run, known: known_runs(database, &jobs).await? });
    }
    let own: HashSet<Uuid> = of_run.iter().map(|job| job.run_id).collect();
    let tables: Vec<String> = of_run.iter().map(|job| job.table_name.clone()).collect();
    let existing = database.taken_names(&tables).await?;
    for job in of_run.iter().filter(|job| existing.contains(&job.table_name)) {
        check_intact(job)?;
        database.check_access(&table_of(job, run)?, Access::Read).await?;
        refuse_later(database, run, job, &own).await?;
    }
    let later = database.later_descriptions(run).await?;
    if !later.is_empty() {
        return Err(Error::LaterRuns { run, later });
    }
    // Of one collection of a group, the group has changed the description.
    let groups = database.group_jobs().await?;
    let of_groups: Vec<(Uuid, Uuid)> = of_run
        .iter()
        .filter(|job| job.run_id == run)
        .filter_map(|job| {
            let (group, _) = groups.iter().find(|(_, member)| *member == job.id)?;
            Some((*group, job.origin.collection_id))
        })
        .collect();
    // The first job created the table that several jobs share.
    of_run.reverse();
    let mut tables = Vec::new();
    for job in of_run {
        let mut lock = database.lock_table(&job.table_name).await?;
        let undone = async {
            if existing.contains(&job.table_name) {
                return undo_job(database, &job, &jobs, run, edited_rows).await;
            }
            // A client may have deleted the collection.
            let undone =
                database.undo_without_table(&job).await.map_err(Error::store("undo", &job.table_name))?;
            let (table, collection) = (job.table_name.clone(), name_of(&job));
            Ok(UndoneTable { table, collection, undone, kept: Vec::new() })
        };
        tables.push(lock.hold(undone).await?);
    }
    tables.reverse();
    let unregistered = match registering.contains(&run) {
        true => database.unregister_runs(&[run]).await?,
        false => Unregistered::default(),
    };
    database.forget_deleted_collections(run).await?;
    let changed = changed_here(edited_rows);
    let mut descriptions = database.restore_descriptions(run, None, changed).await?;
    for (group, collection) in of_groups {
        let of_group = database.restore_descriptions(group, Some(&[collection]), changed).await?;
        descriptions.restored.extend(of_group.restored);
        descriptions.kept.extend(of_group.kept);
    }
    Ok(UndoReport { run_id: run, tables, unregistered, descriptions })
}

/// Rejects a job whose row cannot be read completely, since its changes are unknown.
fn check_intact(job: &Job) -> Result<(), Error> {
    match job.problems.first() {
        Some(problem) => Err(Error::Damaged { run: job.run_id, problem: problem.clone() }),
        None => Ok(()),
    }
}

/// Refuses to undo a run that later runs, except those of `own`, depend on.
async fn refuse_later(database: &Database, run: Uuid, job: &Job, own: &HashSet<Uuid>) -> Result<(), Error> {
    let mut later = database.later_changes(job).await?;
    later.retain(|later| !own.contains(later));
    if later.is_empty() { Ok(()) } else { Err(Error::LaterRuns { run, later }) }
}

/// The table of a job of `run`.
fn table_of(job: &Job, run: Uuid) -> Result<Table, Error> {
    Table::from_definition(job.table_name.clone(), &job.definition).ok_or(Error::NewerVersion { run })
}

/// Undoes one job; the caller holds the table's lock.
async fn undo_job(
    database: &Database,
    job: &Job,
    jobs: &[Job],
    run: Uuid,
    edited_rows: EditedRows,
) -> Result<UndoneTable, Error> {
    refuse_later(database, run, job, &HashSet::new()).await?;
    let table = table_of(job, run)?;
    let undo = database.begin_undo(&table).await.map_err(Error::store("undo", &table.name))?;
    let kept = match edited_rows {
        EditedRows::Keep => edited(database, &table, job, jobs).await?,
        EditedRows::Overwrite => Vec::new(),
    };
    let undone = undo.finish(&table, job, &kept).await.map_err(Error::store("undo", &table.name))?;
    Ok(UndoneTable { table: table.name, collection: name_of(job), undone, kept })
}

/// The collection of a job.
fn name_of(job: &Job) -> CollectionName {
    let Origin { tenant, database, collection, .. } = job.origin.clone();
    CollectionName { tenant, database, name: collection }
}

/// The runs that can be undone: groups, and runs without a group.
async fn known_runs(database: &Database, jobs: &[Job]) -> Result<Vec<Uuid>, Error> {
    let group_of: HashMap<Uuid, Uuid> =
        database.group_jobs().await?.into_iter().map(|(group, job)| (job, group)).collect();
    let standing = jobs.iter().filter(|job| job.status != JobStatus::Undone);
    let mut known: Vec<Uuid> =
        standing.map(|job| group_of.get(&job.id).copied().unwrap_or(job.run_id)).collect();
    known.extend(
        database.registering_runs().await?.into_iter().filter(|run| !known.contains(run)).collect::<Vec<_>>(),
    );
    known.dedup();
    Ok(known)
}

/// Rows that the run wrote and that were edited since.
async fn edited(database: &Database, table: &Table, job: &Job, jobs: &[Job]) -> Result<Vec<Uuid>, Error> {
    let failed = |error| Error::store("read", &table.name)(error);
    let updated: HashSet<Uuid> = database.updated_rows(job).await.map_err(failed)?.into_iter().collect();
    let mut edited = Vec::new();
    let is_of_collection = |other: &&Job| {
        other.table_name == job.table_name && other.origin.collection_id == job.origin.collection_id
    };
    for run in jobs.iter().filter(is_of_collection).map(|job| job.run_id) {
        let add = |row: store::postgres::scan::MigratedRow<'_>| {
            if !row.is_as_written && (run == job.run_id || updated.contains(&row.id)) {
                edited.push(row.id);
            }
        };
        database.scan_migrated(table, &[run], add).await.map_err(failed)?;
    }
    edited.extend(database.rows_with_own_values(table, job).await.map_err(failed)?);
    edited.sort_unstable();
    edited.dedup();
    Ok(edited)
}
