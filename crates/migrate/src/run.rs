//! A run: one or more collections, each into its table, processed sequentially.

use std::time::Instant;

use store::postgres::{Access, Database, jobs::Counts, schema::TableState};
use uuid::Uuid;

use crate::{
    Error,
    carry_out::{carry_out, verify_one},
    classify::Tally,
    observe::{Event, Observer, Step},
    options::{MigrateOptions, Mode, RejectedRecords, Transfer, VerifyOptions, missing_vectors},
    prepare::{begin, check_dimension, prepare},
    report::{CollectionReport, Phases, Report, Stopped},
    resume::Origins,
    served::{Registrations, is_served, registration},
    verify::VerifyTask,
};

/// Connections that hold the lock of a table during the copy.
pub(crate) const HOLDING: u32 = 1;

/// Migrates `transfers` into `database`, or resumes an interrupted run.
///
/// A second run applies only changes of the source. Rows created or edited in PostgreSQL are left unchanged and
/// reported.
///
/// # Errors
/// When a source cannot be read, the database fails, or another migration conflicts. Each batch is then committed
/// completely or not at all, and the same call resumes.
pub async fn migrate(
    database: &Database,
    transfers: Vec<Transfer>,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<Report, Error> {
    let started = Instant::now();
    let working = match options.mode {
        Mode::DryRun => 1,
        Mode::Run => options.copying_connections(),
    };
    let (mut server, ()) =
        tokio::try_join!(database.describe(), database.open_connections(working + HOLDING))?;
    let new_run = Uuid::new_v4();
    let (mut prepared, mut empty) = (Vec::new(), Vec::new());
    let (mut registrations, mut positions) = (Registrations::default(), Vec::new());
    // Planned batches stay in memory until they are written: all collections share the memory limit.
    let mut options = options.clone();
    for (position, transfer) in transfers.into_iter().enumerate() {
        let (transfer, records) = transfer.counted().await?;
        if records.is_none() {
            registrations.add(position, registration(transfer.source.collection(), &transfer.table));
            empty.push((position, nothing_to_migrate(&transfer, new_run)));
        } else {
            let (lock, one) = Box::pin(prepare(database, transfer, new_run, &options, observer)).await?;
            options.spool_bytes -= one.plan.spool.as_ref().map_or(0, |spool| spool.size_bytes);
            positions.push(position);
            prepared.push((lock, one));
        }
    }
    let is_resumed = prepared.iter().any(|(_, prepared)| prepared.is_resumed);
    let run_id = prepared
        .iter()
        .find(|(_, prepared)| prepared.is_resumed)
        .map_or(new_run, |(_, prepared)| prepared.job.run_id);
    let has_rejects = || prepared.iter().any(|(_, prepared)| prepared.has_rejects());
    let stopped = if options.mode == Mode::DryRun {
        Some(Stopped::DryRun)
    } else if options.rejected_records == RejectedRecords::Fail && has_rejects() {
        Some(Stopped::Rejects)
    } else {
        None
    };
    let mut collections = Vec::new();
    if stopped.is_none() {
        begin(database, prepared.iter_mut().map(|(_, prepared)| prepared), None).await?;
        observer(Event::Step(Step::Begun));
    }
    if stopped != Some(Stopped::Rejects) {
        for (position, (_, prepared)) in positions.iter().zip(&prepared) {
            registrations.add(*position, prepared.registration());
        }
    }
    let registered = match stopped {
        // Of the others, nothing is changed either.
        Some(Stopped::Rejects) => Vec::new(),
        _ => registrations.register(database, run_id, &options).await?,
    };
    if let Some(stopped) = stopped {
        collections.extend(prepared.into_iter().map(|(_, prepared)| prepared.into_plan_report(stopped)));
    } else {
        if server.pgvector.is_none() {
            server = database.describe().await?;
        }
        for (position, (mut lock, mut prepared)) in positions.into_iter().zip(prepared) {
            prepared.is_served = is_served(&registered, position);
            let carried_out = Box::pin(carry_out(database, prepared, &server, &options, observer));
            collections.push(lock.hold(carried_out).await?.report);
        }
    }
    for (position, report) in empty {
        collections.insert(position, report);
    }
    for (position, registered) in registered {
        collections[position].set_registered(registered, options.mode);
    }
    note_absent(database, &mut collections).await?;
    Ok(Report {
        run_id,
        is_resumed,
        collections,
        databases: Vec::new(),
        gone: Vec::new(),
        is_comparison: false,
        server,
        warnings: Vec::new(),
        elapsed: started.elapsed(),
    })
}

/// Marks collections without records that have no table: it is created with the first record, whose vector determines
/// the dimension.
pub(crate) async fn note_absent(
    database: &Database,
    collections: &mut [CollectionReport],
) -> Result<(), Error> {
    let is_empty = |report: &CollectionReport| report.source_records() == 0 && report.failure.is_none();
    let mut names: Vec<String> =
        collections.iter().filter(|report| is_empty(report)).map(|report| report.table.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    names.dedup();
    let existing = database.taken_names(&names).await?;
    for report in collections.iter_mut().filter(|report| is_empty(report)) {
        report.is_table_absent = !existing.contains(&report.table);
    }
    Ok(())
}

pub(crate) fn nothing_to_migrate(transfer: &Transfer, run_id: Uuid) -> CollectionReport {
    let tally = Tally::new(&transfer.table);
    let warnings = transfer.source.collection().warnings.clone();
    CollectionReport {
        copied: Some(tally.into_report(Counts::default(), 0, warnings)),
        ..CollectionReport::new(transfer.source.origin(), &transfer.table.name, run_id)
    }
}

/// Compares `transfers` with `database`, and changes nothing.
///
/// # Errors
/// When a source cannot be read, or the database fails.
pub async fn verify(
    database: &Database,
    transfers: Vec<Transfer>,
    options: VerifyOptions,
    observer: &Observer,
) -> Result<Report, Error> {
    let started = Instant::now();
    let server = database.describe().await?;
    for transfer in &transfers {
        database.check_access(&transfer.table, Access::Read).await?;
    }
    let jobs = database.jobs().await?;
    let mut collections = Vec::new();
    let mut registrations = Registrations::default();
    for (position, transfer) in transfers.into_iter().enumerate() {
        registrations.add(position, registration(transfer.source.collection(), &transfer.table));
        let origins = Origins::of(&jobs, &transfer.source.origin(), &transfer.table);
        let (transfer, records) = transfer.counted().await?;
        if is_nothing(database, &transfer, records, &origins).await? {
            collections.push(nothing_to_migrate(&transfer, Uuid::nil()));
            continue;
        }
        // The name of a table that no run has filled may be wrong.
        let may_be_absent = !origins.own_runs.is_empty();
        let most_searches = usize::MAX;
        let task = CompareTask { transfer, origins, options, most_searches, may_be_absent };
        collections.push(compare(database, task, observer).await?);
    }
    registrations.compare(database, &mut collections).await?;
    note_absent(database, &mut collections).await?;
    let run_id = collections.first().map_or_else(Uuid::nil, |collection| collection.run_id);
    Ok(Report {
        run_id,
        is_resumed: false,
        collections,
        databases: Vec::new(),
        gone: Vec::new(),
        is_comparison: true,
        server,
        warnings: Vec::new(),
        elapsed: started.elapsed(),
    })
}

/// Whether a collection has nothing to compare: it has no records, and none were ever migrated.
pub(crate) async fn is_nothing(
    database: &Database,
    transfer: &Transfer,
    records: Option<u64>,
    origins: &Origins,
) -> Result<bool, Error> {
    if records.is_some_and(|records| records > 0) || !origins.own_runs.is_empty() {
        return Ok(false);
    }
    Ok(records.is_none() || database.table_state(&transfer.table).await? == TableState::Absent)
}

/// A collection to compare.
pub(crate) struct CompareTask {
    pub(crate) transfer: Transfer,
    pub(crate) origins: Origins,
    pub(crate) options: VerifyOptions,
    /// Maximum number of searches.
    pub(crate) most_searches: usize,
    /// Whether all records are missing if the table does not exist; if not, that is an error.
    pub(crate) may_be_absent: bool,
}

/// Compares one collection with its table.
pub(crate) async fn compare(
    database: &Database,
    task: CompareTask,
    observer: &Observer,
) -> Result<CollectionReport, Error> {
    check_dimension(&task.transfer)?;
    let CompareTask { transfer: Transfer { source, table }, origins, options, most_searches, may_be_absent } =
        task;
    let origin = source.origin();
    let failed = |error| Error::store("read", &table.name)(error);
    let state = match database.table_state(&table).await.map_err(failed)? {
        TableState::Absent if may_be_absent => TableState::Absent,
        _ => {
            database.check_table(&table).await.map_err(failed)?;
            TableState::Ready
        }
    };
    let mut phases = Phases::default();
    let task = VerifyTask {
        table: &table,
        state,
        origins: &origins,
        missing_vectors: missing_vectors(options.embedded_missing),
        most_searches,
        may_have_quarantined: true,
        may_have_index: true,
    };
    let (verification, _) = verify_one(database, source, task, &mut phases, observer).await?;
    let run_id = origins.own_runs.last().copied().unwrap_or_else(Uuid::nil);
    Ok(CollectionReport {
        verification: Some(verification),
        phases,
        ..CollectionReport::new(origin, &table.name, run_id)
    })
}
