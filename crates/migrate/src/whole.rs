//! A whole source in one run: its collections, lot by lot.
//!
//! What one collection costs beside its records counts here, as there may be thousands of a few records each: one
//! connection holds the tables of a lot, one transaction makes them and notes their jobs, and the small ones are
//! copied side by side and compared by one search each. Every collection is a job with a run of its own; the group
//! that has them all is what is resumed and undone.

use std::{collections::HashSet, sync::Arc, time::Instant};

use chroma::Collection;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use store::{
    chroma::{Source, SourceError},
    postgres::{
        Access, Database, Table,
        groups::Group,
        jobs::{Job, Origin},
        schema::{ServerDescription, TableState},
    },
};
use uuid::Uuid;

use crate::{
    Error,
    carry_out::{build_index, carry_out},
    observe::{Event, Observer, Phase, Step},
    options::{MigrateOptions, Mode, RejectedRecords, Transfer, VerifyOptions},
    place::{IsReserved, Placement},
    prepare::{Begun, Effort, Prepared, begin, check_dimension, decide},
    read::SourceCollection,
    report::{CollectionReport, Outcome, Report, Stopped},
    resume::{Earlier, Origins},
    run::{CompareTask, HOLDING, compare, is_nothing, note_absent, nothing_to_migrate},
};

/// Collections whose tables are held and made together. Each takes a handful of PostgreSQL's locks, of which a server
/// has 6,400 unless told otherwise.
const LOT: usize = 64;
/// Up to so many records a collection is small: one or two batches, far below what needs a vector index.
const SMALL_RECORDS: u64 = 2_000;
/// Small collections that are copied side by side at the most.
const MOST_SIDE_BY_SIDE: usize = 4;

/// A source, and what of it goes where.
pub struct WholeSource {
    /// The source.
    pub source: Source,
    /// Those of its collections that are meant.
    pub collections: Vec<Collection>,
    /// Where they go.
    pub placement: Placement,
    /// Names that no collection's table may have.
    pub is_reserved: IsReserved,
}

/// Brings every collection of `whole` into `database`, or resumes where a run was ended.
///
/// A collection that cannot be carried out is reported with its error, and the others are brought nonetheless; one with
/// records that PostgreSQL cannot hold is left out whole, unless these are to be set aside.
///
/// # Errors
/// When the source or the database fails as a whole, or another migration has a table. The same call resumes then.
pub async fn migrate_collections(
    database: &Database,
    whole: WholeSource,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<Report, Error> {
    let started = Instant::now();
    let (working, side_by_side) = match options.mode {
        Mode::DryRun => (1, 1),
        Mode::Run => {
            (options.copying_connections(), (options.copying_connections() as usize).min(MOST_SIDE_BY_SIDE))
        }
    };
    let (server, ()) = tokio::try_join!(database.describe(), database.open_connections(working + HOLDING))?;
    let warnings = whole.source.warnings().to_vec();
    let (source, placement) = (whole.source.to_string(), whole.placement.definition());
    let earlier = database.unfinished_group(&source, &placement).await?;
    let group = Group { id: earlier.unwrap_or_else(Uuid::new_v4), source, placement };
    let transfers = place(database, whole).await?;
    let total = transfers.len() as u64;
    let is_resumed = earlier.is_some();
    let mut run =
        Run { database, options, observer: steps_of(observer), group, is_resumed, server, side_by_side };
    let mut shared: Vec<Table> = Vec::new();
    let mut collections: Vec<CollectionReport> = Vec::new();
    observer(Event::Phase { collection: &run.group.source, phase: Phase::Collections, total });
    let mut transfers = transfers.into_iter();
    loop {
        let lot: Vec<Transfer> = transfers.by_ref().take(LOT).collect();
        if lot.is_empty() {
            break;
        }
        for Transfer { table, .. } in &lot {
            if table.shared.is_some() && shared.iter().all(|known| known.name != table.name) {
                shared.push(table.clone());
            }
        }
        collections.extend(run.lot(lot).await?);
        observer(Event::Progress { done: collections.len() as u64, total });
    }
    if options.mode == Mode::Run {
        for table in shared {
            run.index(&table, &mut collections).await?;
        }
        // What has failed is tried again by the same command, as part of the same group.
        if collections.iter().all(|collection| collection.failure.is_none()) {
            database.end_group(run.group.id, &manifest(&collections, started)).await?;
        }
    }
    note_absent(database, &mut collections).await?;
    let Run { group, server, .. } = run;
    Ok(Report { run_id: group.id, is_resumed, collections, server, warnings, elapsed: started.elapsed() })
}

/// Compares every collection of `whole` with its table, and changes nothing.
///
/// # Errors
/// When the source or the database fails as a whole.
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
    let transfers = place(database, whole).await?;
    let total = transfers.len() as u64;
    let silent = steps_of(observer);
    let side_by_side = (MigrateOptions::default().copying_connections() as usize).min(MOST_SIDE_BY_SIDE);
    let mut collections: Vec<CollectionReport> = Vec::new();
    observer(Event::Phase { collection: &source, phase: Phase::Collections, total });
    let mut transfers = transfers.into_iter();
    loop {
        let lot: Vec<Transfer> = transfers.by_ref().take(LOT).collect();
        if lot.is_empty() {
            break;
        }
        let (tables, ids) = names_and_ids(&lot);
        let jobs = database.jobs_about(&tables, &ids).await?;
        let (jobs, silent) = (&jobs, &silent);
        let compared = stream::iter(lot).map(|transfer| async move {
            let (origin, table) = (transfer.source.origin(), transfer.table.name.clone());
            let origins = Origins::of(jobs, &origin, &transfer.table);
            let task = CompareTask { transfer, origins, options, most_searches: usize::MAX };
            let compared = Box::pin(compare_one(database, task, silent)).await;
            unless_all_failed(compared, origin, table)
        });
        let compared: Vec<CollectionReport> = compared.buffered(side_by_side).try_collect().await?;
        collections.extend(compared);
        observer(Event::Progress { done: collections.len() as u64, total });
    }
    note_absent(database, &mut collections).await?;
    let run_id = collections.first().map_or_else(Uuid::nil, |collection| collection.run_id);
    Ok(Report { run_id, is_resumed: false, collections, server, warnings, elapsed: started.elapsed() })
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

/// Each collection with its table.
async fn place(database: &Database, whole: WholeSource) -> Result<Vec<Transfer>, Error> {
    let WholeSource { source, collections, placement, is_reserved } = whole;
    let taken = database.taken_names(&placement.wanted_names(&collections)).await?;
    let tables = placement.tables(&collections, &database.jobs().await?, &taken, is_reserved);
    let collections = SourceCollection::each(source, collections);
    Ok(collections.zip(tables).map(|(source, table)| Transfer { source, table }).collect())
}

/// The names of the tables of a lot, each once and in order, and the ids of its collections.
fn names_and_ids(lot: &[Transfer]) -> (Vec<String>, Vec<Uuid>) {
    let mut tables: Vec<String> = lot.iter().map(|transfer| transfer.table.name.clone()).collect();
    tables.sort_unstable();
    tables.dedup();
    (tables, lot.iter().map(|transfer| transfer.source.collection().id).collect())
}

/// Passes steps on, and nothing of what single collections are at: there may be thousands.
fn steps_of(observer: &Observer) -> Observer {
    let observer = observer.clone();
    Arc::new(move |event| {
        if let Event::Step(_) = event {
            observer(event);
        }
    })
}

/// A report of the failure, if it is that of one collection.
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

/// Whether other collections of the source may fare better.
fn concerns_collection(error: &Error) -> bool {
    match error {
        Error::Source(SourceError::Directory { .. })
        | Error::Source(SourceError::Server(store::chroma::Error::Status { .. }))
        | Error::Incomplete { .. }
        | Error::SourceChanged { .. }
        | Error::Unfinished(_)
        | Error::OtherMapping(_)
        | Error::Overlap { .. }
        | Error::Dimension { .. }
        | Error::Embed { .. } => true,
        Error::Store { source, .. } => matches!(
            **source,
            store::Error::Schema { .. }
                | store::Error::NoTable { .. }
                | store::Error::NotAdopted { .. }
                | store::Error::Row { .. }
                | store::Error::Kept { .. }
        ),
        _ => false,
    }
}

/// What is the same for all collections.
struct Run<'a> {
    database: &'a Database,
    options: &'a MigrateOptions,
    observer: Observer,
    group: Group,
    is_resumed: bool,
    server: ServerDescription,
    side_by_side: usize,
}

/// A collection that was looked at.
enum Decided {
    /// It is to be carried out.
    Ready(Box<Prepared>),
    /// Nothing more is to be done.
    Done(Box<CollectionReport>),
}

/// What is known of the tables of a lot.
struct Known {
    jobs: Vec<Job>,
    /// Names that something has.
    existing: HashSet<String>,
}

impl Run<'_> {
    /// Migrates some collections; gives their reports in the same order.
    async fn lot(&mut self, lot: Vec<Transfer>) -> Result<Vec<CollectionReport>, Error> {
        let (tables, ids) = names_and_ids(&lot);
        let mut lock = self.database.lock_tables(&tables).await?;
        (self.observer)(Event::Step(Step::Locked));
        let reports = lock.hold(Box::pin(self.held_lot(lot, &tables, &ids))).await?;
        lock.release().await?;
        Ok(reports)
    }

    async fn held_lot(
        &mut self,
        lot: Vec<Transfer>,
        tables: &[String],
        ids: &[Uuid],
    ) -> Result<Vec<CollectionReport>, Error> {
        let known = Known {
            jobs: self.database.jobs_about(tables, ids).await?,
            existing: self.database.taken_names(tables).await?,
        };
        let mut reports: Vec<Option<CollectionReport>> = lot.iter().map(|_| None).collect();
        let mut prepared: Vec<(usize, Prepared)> = Vec::new();
        let mut room_bytes = self.options.spool_bytes;
        for (position, transfer) in lot.into_iter().enumerate() {
            let (origin, table) = (transfer.source.origin(), transfer.table.name.clone());
            match Box::pin(self.decide(transfer, &known, room_bytes)).await {
                Ok(Decided::Ready(one)) => {
                    room_bytes -= one.plan.spool.as_ref().map_or(0, |spool| spool.size_bytes);
                    prepared.push((position, *one));
                }
                Ok(Decided::Done(report)) => reports[position] = Some(*report),
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
        let this = &*self;
        let carried_out = stream::iter(prepared).map(|(position, one)| async move {
            let (origin, table) = (one.job.origin.clone(), one.table.name.clone());
            let ended =
                Box::pin(carry_out(this.database, one, &this.server, this.options, &this.observer)).await;
            Ok::<_, Error>((position, unless_all_failed(ended, origin, table)?))
        });
        let carried_out: Vec<(usize, CollectionReport)> =
            carried_out.buffer_unordered(self.side_by_side).try_collect().await?;
        for (position, report) in carried_out {
            reports[position] = Some(report);
        }
        Ok(reports.into_iter().map(|report| report.expect("each was decided upon")).collect())
    }

    async fn decide(&self, transfer: Transfer, known: &Known, room_bytes: usize) -> Result<Decided, Error> {
        check_dimension(&transfer)?;
        let (transfer, records) = transfer.counted().await?;
        let new_run = Uuid::new_v4();
        let Some(records) = records else {
            return Ok(Decided::Done(Box::new(nothing_to_migrate(&transfer, new_run))));
        };
        let earlier = Earlier::of(&known.jobs, &transfer)?;
        let state = (!known.existing.contains(&transfer.table.name)).then_some(TableState::Absent);
        let options = MigrateOptions { spool_bytes: room_bytes, ..self.options.clone() };
        let begun = Begun { new_run, earlier, state };
        let mut one = decide(self.database, transfer, begun, &options, &self.observer).await?;
        let is_small = records.max(one.plan.classifier.rows.brought()) <= SMALL_RECORDS
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
            Some(stopped) => Decided::Done(Box::new(one.into_plan_report(stopped))),
            None => Decided::Ready(Box::new(one)),
        })
    }

    /// Builds the vector index of a shared table, now that all of its collections are there.
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

/// What is kept of a group.
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
