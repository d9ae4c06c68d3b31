//! Migrates all collections of a source in one run, lot by lot.
//!
//! The fixed cost per collection matters, as there may be thousands of a few records each: one connection locks the
//! tables of a lot, one transaction creates them and records their jobs, and small collections are copied in parallel
//! and compared by one search each. Every collection is a job with its own run; resume and undo apply to the group of
//! all jobs.

use std::{collections::HashSet, sync::Arc, time::Instant};

use chroma::{Collection, EmptyDatabase};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use store::{
    chroma::{Source, SourceError},
    postgres::{
        Access, Database, Table,
        collections::{Registered, Registration},
        groups::Group,
        jobs::{Job, Origin},
        schema::{ServerDescription, TableState},
    },
};
use uuid::Uuid;

use crate::{
    Error,
    carry_out::{Ended, build_index, carry_out},
    observe::{Event, Observer, Phase, Step},
    options::{MigrateOptions, Mode, RejectedRecords, Transfer, VerifyOptions},
    place::{IsReserved, IsSelected, KnownTables, Placement, gone},
    prepare::{Effort, Prepared, StartedTransfer, begin, check_alone, check_dimension, decide},
    read::SourceCollection,
    report::{CollectionReport, DatabaseReport, DatabaseState, GoneCollection, Outcome, Report, Stopped},
    resume::{EarlierJobs, Origins},
    run::{CompareTask, HOLDING, compare, is_nothing, note_absent, nothing_to_migrate},
    served::{Registrations, changed_here, is_served, registration},
};

/// Collections whose tables are locked and created together. Each takes several of PostgreSQL's locks, of which a
/// server has 6,400 by default.
const LOT: usize = 64;
/// Maximum records of a small collection: one or two batches, far below the size that needs a vector index.
const SMALL_RECORDS: u64 = 2_000;
/// Maximum number of small collections that are copied in parallel.
const MAX_PARALLEL: usize = 4;

/// A source, its selected collections and their targets.
pub struct WholeSource {
    /// The source.
    pub source: Source,
    /// The selected collections.
    pub collections: Vec<Collection>,
    /// Its selected databases without collections, and tenants without databases.
    pub empty_databases: Vec<EmptyDatabase>,
    /// The target tables.
    pub placement: Placement,
    /// Names that no collection's table may have.
    pub is_reserved: IsReserved,
    /// Whether a collection would be among `collections` if the source had it.
    pub is_selected: IsSelected,
}

/// The collections of a source with their tables, and those that it no longer has.
struct Placed {
    transfers: Vec<Transfer>,
    gone: Vec<GoneCollection>,
}

/// Migrates every collection of `whole` into `database`, or resumes an interrupted run.
///
/// A failing collection is reported with its error, and the others are migrated regardless; a collection with
/// rejected records is skipped, unless these are to be quarantined.
///
/// # Errors
/// When the source or the database fails, or another migration has locked a table. The same call then resumes.
pub async fn migrate_collections(
    database: &Database,
    whole: WholeSource,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<Report, Error> {
    let started = Instant::now();
    let (working, parallelism) = match options.mode {
        Mode::DryRun => (1, 1),
        Mode::Run => {
            (options.copying_connections(), (options.copying_connections() as usize).min(MAX_PARALLEL))
        }
    };
    let (server, ()) = tokio::try_join!(database.describe(), database.open_connections(working + HOLDING))?;
    let warnings = whole.source.warnings().to_vec();
    let (source, placement) = (whole.source.to_string(), whole.placement.definition());
    let earlier = database.unfinished_group(&source, &placement).await?;
    let group = Group { id: earlier.unwrap_or_else(Uuid::new_v4), source, placement };
    let empty_databases = whole.empty_databases.clone();
    let Placed { transfers, gone } = place(database, whole).await?;
    let total = transfers.len() as u64;
    let is_resumed = earlier.is_some();
    let mut run = Run {
        database,
        options,
        observer: steps_of(observer),
        group,
        is_resumed,
        server,
        parallelism,
        renamed: Registrations::default(),
    };
    let mut shared: Vec<Table> = Vec::new();
    let mut collections: Vec<CollectionReport> = Vec::new();
    observer(Event::Phase { collection: &run.group.source, phase: Phase::Collections, total });
    let mut transfers = transfers.into_iter();
    loop {
        let batch: Vec<Transfer> = transfers.by_ref().take(LOT).collect();
        if batch.is_empty() {
            break;
        }
        for Transfer { table, .. } in &batch {
            if table.shared.is_some() && shared.iter().all(|known| known.name != table.name) {
                shared.push(table.clone());
            }
        }
        let reports = run.batch(collections.len(), batch).await?;
        collections.extend(reports);
        observer(Event::Progress { done: collections.len() as u64, total });
    }
    run.rename(&mut collections).await?;
    let databases = run.databases(empty_databases).await?;
    if options.mode == Mode::Run {
        for table in shared {
            run.index(&table, &mut collections).await?;
        }
        // The same command retries failed collections, as part of the same group.
        if collections.iter().all(|collection| collection.failure.is_none()) {
            database.end_group(run.group.id, &manifest(&collections, started)).await?;
        }
    }
    note_absent(database, &mut collections).await?;
    let Run { group, server, .. } = run;
    Ok(Report {
        run_id: group.id,
        is_resumed,
        collections,
        databases,
        gone,
        is_comparison: false,
        server,
        warnings,
        elapsed: started.elapsed(),
    })
}

/// Compares every collection of `whole` with its table, and changes nothing.
///
/// # Errors
/// When the source or the database fails.
pub async fn verify_collections(
    database: &Database,
    whole: WholeSource,
    options: VerifyOptions,
    observer: &Observer,
) -> Result<Report, Error> {
    let started = Instant::now();
    let server = database.describe().await?;
    let warnings = whole.source.warnings().to_vec();
    let source = whole.source.to_string();
    let missing = database.unregistered_databases(&whole.empty_databases).await?;
    let databases = whole.empty_databases.iter().map(|empty| DatabaseReport {
        database: empty.clone(),
        state: if missing.contains(empty) { DatabaseState::Missing } else { DatabaseState::Found },
    });
    let databases = databases.collect();
    let Placed { transfers, gone } = place(database, whole).await?;
    let total = transfers.len() as u64;
    let silent = steps_of(observer);
    let parallelism = (MigrateOptions::default().copying_connections() as usize).min(MAX_PARALLEL);
    let mut collections: Vec<CollectionReport> = Vec::new();
    observer(Event::Phase { collection: &source, phase: Phase::Collections, total });
    let mut transfers = transfers.into_iter();
    loop {
        let batch: Vec<Transfer> = transfers.by_ref().take(LOT).collect();
        if batch.is_empty() {
            break;
        }
        let (tables, ids) = names_and_ids(&batch);
        let jobs = database.jobs_about(&tables, &ids).await?;
        let mut registrations = Registrations::default();
        for (position, Transfer { source, table }) in batch.iter().enumerate() {
            registrations.add(position, registration(source.collection(), table));
        }
        let (jobs, silent) = (&jobs, &silent);
        let compared = stream::iter(batch).map(|transfer| async move {
            let (origin, table) = (transfer.source.origin(), transfer.table.name.clone());
            let origins = Origins::of(jobs, &origin, &transfer.table);
            let task =
                CompareTask { transfer, origins, options, most_searches: usize::MAX, may_be_absent: true };
            let compared = Box::pin(compare_one(database, task, silent)).await;
            unless_all_failed(compared, origin, table)
        });
        let mut compared: Vec<CollectionReport> = compared.buffered(parallelism).try_collect().await?;
        registrations.compare(database, &mut compared).await?;
        collections.extend(compared);
        observer(Event::Progress { done: collections.len() as u64, total });
    }
    note_absent(database, &mut collections).await?;
    let run_id = collections.first().map_or_else(Uuid::nil, |collection| collection.run_id);
    Ok(Report {
        run_id,
        is_resumed: false,
        collections,
        databases,
        gone,
        is_comparison: true,
        server,
        warnings,
        elapsed: started.elapsed(),
    })
}

async fn compare_one(
    database: &Database,
    task: CompareTask,
    observer: &Observer,
) -> Result<CollectionReport, Error> {
    let (transfer, records) = task.transfer.counted().await?;
    if is_nothing(database, &transfer, records, &task.origins).await? {
        return Ok(nothing_to_migrate(&transfer, Uuid::nil()));
    }
    database.check_access(&transfer.table, Access::Read).await?;
    let effort = if records.unwrap_or(0) <= SMALL_RECORDS { Effort::Small } else { Effort::Full };
    compare(database, CompareTask { transfer, most_searches: effort.most_searches(), ..task }, observer).await
}

/// Assigns each collection its table.
async fn place(database: &Database, whole: WholeSource) -> Result<Placed, Error> {
    let WholeSource { source, collections, empty_databases: _, placement, is_reserved, is_selected } = whole;
    let jobs = database.jobs().await?;
    let mut gone = gone((&source.to_string(), source.collections()), &jobs, &is_selected);
    let of_gone = gone.iter().map(|gone| gone.table.clone());
    let taken = placement.wanted_names(&collections).into_iter().chain(of_gone).collect::<Vec<_>>();
    let taken = database.taken_names(&taken).await?;
    let of_gone = gone.iter().map(|gone| gone.origin.collection_id);
    let ids: Vec<Uuid> = collections.iter().map(|collection| collection.id).chain(of_gone).collect();
    let known = KnownTables { taken, registered: database.registered_tables(&ids).await? };
    // Others were deleted here too. Where they shared a table, that has no rows of them.
    gone.retain(|gone| match gone.is_shared {
        true => known.registered.contains_key(&gone.origin.collection_id),
        false => known.taken.contains(&gone.table),
    });
    let tables = placement.tables(&collections, &jobs, &known, is_reserved);
    let collections = SourceCollection::each(source, collections);
    let transfers = collections.zip(tables).map(|(source, table)| Transfer { source, table });
    Ok(Placed { transfers: transfers.collect(), gone })
}

/// The sorted distinct table names of a lot, and the ids of its collections.
fn names_and_ids(batch: &[Transfer]) -> (Vec<String>, Vec<Uuid>) {
    let mut tables: Vec<String> = batch.iter().map(|transfer| transfer.table.name.clone()).collect();
    tables.sort_unstable();
    tables.dedup();
    (tables, batch.iter().map(|transfer| transfer.source.collection().id).collect())
}

/// Forwards steps, but no progress of single collections, of which there may be thousands.
fn steps_of(observer: &Observer) -> Observer {
    let observer = observer.clone();
    Arc::new(move |event| {
        if let Event::Step(_) = event {
            observer(event);
        }
    })
}

/// Turns the failure of a single collection into a report.
fn unless_all_failed(
    result: Result<CollectionReport, Error>,
    origin: Origin,
    table: String,
) -> Result<CollectionReport, Error> {
    match result {
        Err(error) if concerns_collection(&error) => Ok(CollectionReport {
            failure: Some(Arc::new(error)),
            ..CollectionReport::new(origin, &table, Uuid::nil())
        }),
        result => result,
    }
}

/// Whether the error concerns only one collection of the source.
fn concerns_collection(error: &Error) -> bool {
    match error {
        Error::Source(SourceError::Directory { .. })
        | Error::Source(SourceError::Server(store::chroma::Error::Status { .. }))
        | Error::Incomplete { .. }
        | Error::SourceChanged { .. }
        | Error::Unfinished(_)
        | Error::OtherMapping(_)
        | Error::Overlap { .. }
        | Error::Served { .. }
        | Error::Dimension { .. }
        | Error::Embed { .. } => true,
        Error::Store { source, .. } => matches!(
            **source,
            store::Error::Schema { .. }
                | store::Error::NoTable { .. }
                | store::Error::NotAdopted { .. }
                | store::Error::DeletedMeanwhile { .. }
                | store::Error::Row { .. }
                | store::Error::Kept { .. }
        ),
        _ => false,
    }
}

/// The state shared by all collections of a run.
struct Run<'a> {
    database: &'a Database,
    options: &'a MigrateOptions,
    observer: Observer,
    group: Group,
    is_resumed: bool,
    server: ServerDescription,
    parallelism: usize,
    /// Collections whose name belonged to another one when their lot was registered, and in a plan those that get another name:
    /// a later lot may free it. With the numbers of their reports.
    renamed: Registrations,
}

/// A planned collection.
enum Decision {
    /// There are changes to make.
    Ready(Box<Prepared>),
    /// There is nothing to do; with how Chroma clients are to see the collection.
    Done(Box<CollectionReport>, Option<Box<Registration>>),
}

/// The state of the tables of a lot.
struct Known {
    jobs: Vec<Job>,
    /// Names that are taken.
    existing: HashSet<String>,
    /// Collections that clients have deleted here.
    deleted: HashSet<Uuid>,
    /// Collections that clients see: table, id and name.
    served: Vec<(String, Uuid, String)>,
}

impl Run<'_> {
    /// Registers databases without collections.
    async fn databases(&self, empty: Vec<EmptyDatabase>) -> Result<Vec<DatabaseReport>, Error> {
        let states: Vec<DatabaseState> = match self.options.mode {
            Mode::DryRun => vec![DatabaseState::Planned; empty.len()],
            Mode::Run => {
                let changed = changed_here(self.options.edited_rows);
                let registered = self.database.register_databases(&empty, self.group.id, changed).await?;
                registered.into_iter().map(DatabaseState::Registered).collect()
            }
        };
        let reports = empty.into_iter().zip(states);
        Ok(reports.map(|(database, state)| DatabaseReport { database, state }).collect())
    }

    /// Migrates the collections of a lot, of which the first has the number `first`, and returns their reports in the same
    /// order.
    async fn batch(&mut self, first: usize, batch: Vec<Transfer>) -> Result<Vec<CollectionReport>, Error> {
        let (tables, ids) = names_and_ids(&batch);
        let mut lock = self.database.lock_tables(&tables).await?;
        (self.observer)(Event::Step(Step::Locked));
        let reports = lock.hold(Box::pin(self.locked_batch((first, batch), &tables, &ids))).await?;
        lock.release().await?;
        Ok(reports)
    }

    async fn locked_batch(
        &mut self,
        (first, batch): (usize, Vec<Transfer>),
        tables: &[String],
        ids: &[Uuid],
    ) -> Result<Vec<CollectionReport>, Error> {
        let known = Known {
            jobs: self.database.jobs_about(tables, ids).await?,
            existing: self.database.taken_names(tables).await?,
            deleted: self.database.deleted_collections(ids).await?,
            served: self.database.collections_in(tables).await?,
        };
        let mut reports: Vec<Option<CollectionReport>> = batch.iter().map(|_| None).collect();
        let mut prepared: Vec<(usize, Prepared)> = Vec::new();
        let mut room_bytes = self.options.spool_bytes;
        let mut registrations = Registrations::default();
        for (position, transfer) in batch.into_iter().enumerate() {
            let (origin, table) = (transfer.source.origin(), transfer.table.name.clone());
            match Box::pin(self.decide(transfer, &known, room_bytes)).await {
                Ok(Decision::Ready(one)) => {
                    room_bytes -= one.plan.spool.as_ref().map_or(0, |spool| spool.size_bytes);
                    registrations.add(position, one.registration());
                    prepared.push((position, *one));
                }
                Ok(Decision::Done(report, registration)) => {
                    if let Some(registration) = registration {
                        registrations.add(position, *registration);
                    }
                    reports[position] = Some(*report);
                }
                Err(error) => reports[position] = Some(unless_all_failed(Err(error), origin, table)?),
            }
        }
        (self.observer)(Event::Step(Step::Planned));
        if !prepared.is_empty() {
            begin(self.database, prepared.iter_mut().map(|(_, one)| one), Some(&self.group)).await?;
            (self.observer)(Event::Step(Step::Begun));
            if self.server.pgvector.is_none() {
                self.server = self.database.describe().await?;
            }
        }
        let registered = registrations.register(self.database, self.group.id, self.options).await?;
        for (position, one) in &mut prepared {
            one.is_served = is_served(&registered, *position);
        }
        let this = &*self;
        let carried_out = stream::iter(prepared).map(|(position, one)| async move {
            let (origin, table) = (one.job.origin.clone(), one.table.name.clone());
            let carried_out = carry_out(this.database, one, &this.server, this.options, &this.observer);
            let ended = match Box::pin(carried_out).await {
                Ok(ended) => ended,
                failed => Ended {
                    report: unless_all_failed(failed.map(|ended| ended.report), origin, table)?,
                    to_complete: None,
                },
            };
            Ok::<_, Error>((position, ended))
        });
        let carried_out: Vec<(usize, Ended)> =
            carried_out.buffer_unordered(self.parallelism).try_collect().await?;
        let mut to_complete = Vec::new();
        for (position, ended) in carried_out {
            reports[position] = Some(ended.report);
            to_complete.extend(ended.to_complete);
        }
        if !to_complete.is_empty() {
            self.database.complete_jobs(&to_complete).await?;
            to_complete.iter().for_each(|_| (self.observer)(Event::Step(Step::Complete)));
        }
        let mut reports: Vec<CollectionReport> =
            reports.into_iter().map(|report| report.expect("each was decided upon")).collect();
        for (position, registered) in registered {
            let is_planned = self.options.mode == Mode::DryRun && registered.updated().contains(&"name");
            if is_planned || registered == Registered::NameTaken {
                self.renamed.add(first + position, registrations.of(position));
            }
            reports[position].set_registered(registered, self.options.mode);
        }
        Ok(reports)
    }

    /// Registers the collections whose names the lots have freed since, or that have each other's.
    async fn rename(&self, collections: &mut [CollectionReport]) -> Result<(), Error> {
        let registered = self.renamed.register(self.database, self.group.id, self.options).await?;
        for (number, registered) in registered {
            collections[number].set_registered(registered, self.options.mode);
        }
        Ok(())
    }

    async fn decide(&self, transfer: Transfer, known: &Known, room_bytes: usize) -> Result<Decision, Error> {
        check_dimension(&transfer)?;
        let (transfer, records) = transfer.counted().await?;
        let new_run = Uuid::new_v4();
        let Some(records) = records else {
            let registration = registration(transfer.source.collection(), &transfer.table);
            return Ok(Decision::Done(
                Box::new(nothing_to_migrate(&transfer, new_run)),
                Some(Box::new(registration)),
            ));
        };
        let earlier = EarlierJobs::of(&known.jobs, &transfer)?;
        check_alone(&transfer, &known.served)?;
        let state = (!known.existing.contains(&transfer.table.name)).then_some(TableState::Absent);
        let options = MigrateOptions { spool_bytes: room_bytes, ..self.options.clone() };
        let is_deleted = known.deleted.contains(&transfer.source.collection().id);
        let begun = StartedTransfer { new_run, earlier, state, is_deleted };
        let mut one = decide(self.database, transfer, begun, &options, &self.observer).await?;
        let is_small = records.max(one.plan.classifier.rows.migrated()) <= SMALL_RECORDS
            && matches!(options.index_policy.index_type, upkeep::IndexType::Auto | upkeep::IndexType::None);
        one.effort = match (is_small, one.table.shared.is_some()) {
            (true, _) => Effort::Small,
            (false, true) => Effort::WithoutIndex,
            (false, false) => Effort::Full,
        };
        let stopped = if options.mode == Mode::DryRun {
            Some(Stopped::DryRun)
        } else if options.rejected_records == RejectedRecords::Fail && one.has_rejects() {
            Some(Stopped::Rejects)
        } else {
            None
        };
        Ok(match stopped {
            Some(stopped) => {
                let registration = (stopped == Stopped::DryRun).then(|| Box::new(one.registration()));
                Decision::Done(Box::new(one.into_plan_report(stopped)), registration)
            }
            None => Decision::Ready(Box::new(one)),
        })
    }

    /// Builds the vector index of a shared table after all of its collections.
    async fn index(&self, table: &Table, collections: &mut [CollectionReport]) -> Result<(), Error> {
        let has_changed = |report: &&mut CollectionReport| {
            let copied = report.copied.as_ref().filter(|_| report.stopped.is_none());
            let is_changed = copied.is_some_and(|copied| {
                self.is_resumed || copied.written + copied.updated + copied.deleted > 0
            });
            report.table == table.name && is_changed
        };
        let Some(last) = collections.iter_mut().rfind(has_changed) else { return Ok(()) };
        if self.database.table_state(table).await? == TableState::Absent {
            return Ok(());
        }
        let mut lock = self.database.lock_table(&table.name).await?;
        let built = build_index(self.database, table, last.run_id, self.options, &self.observer);
        match lock.hold(Box::pin(built)).await? {
            Ok(plan) => last.index = Some(plan),
            Err(failure) => last.index_failure = Some(failure),
        }
        lock.release().await?;
        (self.observer)(Event::Step(Step::Indexed));
        Ok(())
    }
}

/// The manifest of a group.
fn manifest(collections: &[CollectionReport], started: Instant) -> Value {
    let copied = || collections.iter().filter_map(|collection| collection.copied.as_ref());
    let verified = || collections.iter().filter_map(|collection| collection.verification.as_ref());
    let outcome =
        collections.iter().map(CollectionReport::outcome).min().unwrap_or(Outcome::NothingToMigrate);
    json!({
        "status": outcome.as_str(),
        "collections": collections.len(),
        "source_records": collections.iter().map(CollectionReport::source_records).sum::<u64>(),
        "written": copied().map(|copied| copied.written).sum::<u64>(),
        "updated": copied().map(|copied| copied.updated).sum::<u64>(),
        "unchanged": copied().map(|copied| copied.unchanged).sum::<u64>(),
        "deleted": copied().map(|copied| copied.deleted).sum::<u64>(),
        "conflicts": copied().map(|copied| copied.conflicts.len()).sum::<usize>(),
        "rejected": copied().map(|copied| copied.rejects.len()).sum::<usize>(),
        "matched": verified().map(|verification| verification.matched).sum::<u64>(),
        "panopticon": env!("CARGO_PKG_VERSION"),
        "seconds": started.elapsed().as_secs_f64(),
    })
}
