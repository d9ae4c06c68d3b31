//! The steps before the first change: both sides are read, and each record is classified.

use std::time::Instant;

use records::Service;
use store::{
    RowDigest,
    postgres::{
        Access, AdvisoryLock, Database, Table,
        collections::Registration,
        groups::Group,
        jobs::{Counts, Job, JobStatus},
        schema::TableState,
    },
};
use uuid::Uuid;

use crate::{
    Error,
    classify::Classifier,
    error::MAX_DIMENSION,
    observe::{Counter, Event, Observer, Phase, Step},
    options::{EditedRows, MigrateOptions, Mode, RejectedRecords, StaleRows, Transfer},
    plan::{Plan, Spooling, plan},
    quarantine::Quarantine,
    report::{CollectionReport, Conflict, ConflictReason, Phases, Stopped},
    resume::{EarlierJobs, Origins},
    served::registration,
    target::TargetRows,
};

/// A planned transfer.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) table: Table,
    pub(crate) job: Job,
    pub(crate) origins: Origins,
    pub(crate) is_resumed: bool,
    /// Rows to delete, and their digests.
    pub(crate) deleted: Vec<(Uuid, RowDigest)>,
    /// Rows to keep although their records are gone, and those of them that were edited.
    pub(crate) stale: u64,
    pub(crate) stale_conflicts: Vec<Conflict>,
    pub(crate) phases: Phases,
    pub(crate) effort: Effort,
    /// How Chroma clients are to see the collection.
    registration: Registration,
    /// Whether the table existed before.
    pub(crate) has_table: bool,
    /// Whether Chroma clients see the collection since the run has begun.
    pub(crate) is_served: bool,
}

/// How much work is done for a collection in addition to the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Everything.
    Full,
    /// For a small collection of many: no vector index, one search, and its job is completed together with others.
    Small,
    /// Everything except the index, which is built after all collections of the table.
    WithoutIndex,
}

impl Effort {
    pub(crate) fn builds_index(self) -> bool {
        self == Self::Full
    }

    pub(crate) fn most_searches(self) -> usize {
        if self == Self::Small { 1 } else { usize::MAX }
    }
}

impl Prepared {
    pub(crate) fn has_rejects(&self) -> bool {
        !self.plan.classifier.tally.rejects.is_empty()
    }

    /// Whether there is anything to do.
    pub(crate) fn has_changes(&self) -> bool {
        let tally = &self.plan.classifier.tally;
        tally.inserts + tally.updates + tally.quarantined > 0 || !self.deleted.is_empty()
    }

    /// How Chroma clients are to see the collection, once the run has begun.
    pub(crate) fn registration(&self) -> Registration {
        let mut registration = self.registration.clone();
        if self.has_table || self.is_resumed || self.has_changes() {
            registration.set_table(&self.table);
        }
        registration
    }

    pub(crate) fn into_plan_report(self, stopped: Stopped) -> CollectionReport {
        let mut tally = self.plan.classifier.tally;
        let counts = match stopped {
            Stopped::DryRun => {
                Counts { written: tally.inserts, updated: tally.updates, deleted: self.deleted.len() as u64 }
            }
            Stopped::Rejects => Counts::default(),
        };
        tally.conflicts.extend(self.stale_conflicts);
        CollectionReport {
            copied: Some(tally.into_report(counts, self.stale, self.plan.warnings)),
            stopped: Some(stopped),
            phases: self.phases,
            ..CollectionReport::new(self.job.origin, &self.table.name, self.job.run_id)
        }
    }
}

/// Locks the table, reads both sides and plans, without changing anything.
pub(crate) async fn prepare(
    database: &Database,
    transfer: Transfer,
    new_run: Uuid,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<(AdvisoryLock, Prepared), Error> {
    check_dimension(&transfer)?;
    let mut lock = database.lock_table(&transfer.table.name).await?;
    observer(Event::Step(Step::Locked));
    let decided = async {
        let jobs = database.jobs().await?;
        let earlier = EarlierJobs::of(&jobs, &transfer)?;
        let id = transfer.source.collection().id;
        let is_deleted = database.deleted_collections(&[id]).await?.contains(&id);
        let served = database.collections_in(std::slice::from_ref(&transfer.table.name)).await?;
        check_alone(&transfer, &served)?;
        let begun = StartedTransfer { new_run, earlier, state: None, is_deleted };
        decide(database, transfer, begun, options, observer).await
    };
    let prepared = Box::pin(lock.hold(decided)).await?;
    Ok((lock, prepared))
}

/// Rejects dimensions that pgvector does not support.
pub(crate) fn check_dimension(transfer: &Transfer) -> Result<(), Error> {
    let dimension = transfer.table.dimension;
    if dimension > MAX_DIMENSION {
        let collection = transfer.source.collection().name.clone();
        return Err(Error::Dimension { collection, dimension });
    }
    Ok(())
}

/// Rejects a table with the records of another collection that Chroma clients see; `served` has the collections that they see
/// and their tables.
pub(crate) fn check_alone(transfer: &Transfer, served: &[(String, Uuid, String)]) -> Result<(), Error> {
    let Transfer { source, table } = transfer;
    // A column tells the collections of a shared table apart, and services take the records of several sources.
    let may_be_shared = Service::ALL.into_iter().any(|service| service.collection() == table.name);
    if table.shared.is_some() || may_be_shared {
        return Ok(());
    }
    let id = source.collection().id;
    let here = || served.iter().filter(|(name, ..)| *name == table.name);
    match here().find(|(_, other, _)| *other != id) {
        Some((_, _, collection)) if here().all(|(_, other, _)| *other != id) => {
            Err(Error::Served { table: table.name.clone(), collection: collection.clone() })
        }
        _ => Ok(()),
    }
}

/// The state of a transfer before planning.
pub(crate) struct StartedTransfer {
    /// The id of a new run.
    pub(crate) new_run: Uuid,
    /// Earlier jobs of the table.
    pub(crate) earlier: EarlierJobs,
    /// The state of the table, if known.
    pub(crate) state: Option<TableState>,
    /// Whether a client has deleted the collection here.
    pub(crate) is_deleted: bool,
}

/// Reads both sides and plans; the caller holds the table's lock.
pub(crate) async fn decide(
    database: &Database,
    transfer: Transfer,
    begun: StartedTransfer,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<Prepared, Error> {
    let started = Instant::now();
    let Transfer { source, table } = transfer;
    let StartedTransfer { new_run, earlier: EarlierJobs { unfinished, origins }, state, is_deleted } = begun;
    if state != Some(TableState::Absent) {
        database.check_access(&table, Access::Write).await?;
    }
    let origin = source.origin();
    let state = match state {
        Some(state) => state,
        None => database.table_state(&table).await.map_err(Error::store("use", &table.name))?,
    };
    Counter::begin(observer, &origin.collection, Phase::Target, 0);
    let mut rows = TargetRows::read(database, &table, state, &origins).await?;
    match options.edited_rows {
        EditedRows::Overwrite => {}
        EditedRows::Keep if is_deleted => rows.all_are_deleted(),
        EditedRows::Keep if origins.own_runs.is_empty() => {}
        EditedRows::Keep => rows.read_deleted(database, &table, &origins.own_runs).await?,
    }
    let quarantine = match options.rejected_records {
        RejectedRecords::Fail => None,
        RejectedRecords::Quarantine => {
            // The quarantine of an unfinished run is discarded when it is resumed.
            let is_finished = |run: &&Uuid| unfinished.as_ref().is_none_or(|job| job.run_id != **run);
            let runs: Vec<Uuid> = origins.own_runs.iter().filter(is_finished).copied().collect();
            Some(Quarantine::new(source.collection(), database.quarantined(&runs, &origin).await?))
        }
    };
    let classifier = Classifier::new(table.clone(), rows, options.choices(), quarantine);
    let spooling = match options.mode {
        Mode::DryRun => Spooling::Off,
        Mode::Run => {
            let run = unfinished.as_ref().map_or(new_run, |job| job.run_id);
            Spooling::UpTo { room_bytes: options.spool_bytes, options: options.batches(run) }
        }
    };
    let plan = plan(source, classifier, spooling, observer).await?;
    observer(Event::Step(Step::Planned));
    let of_others = &plan.classifier.tally.of_others;
    if let Some(example) = of_others.ids.first() {
        let (count, example) = (of_others.count, example.clone());
        return Err(Error::Overlap { table: table.name, count, example });
    }
    let (mut deleted, mut stale, mut stale_conflicts) = (Vec::new(), 0, Vec::new());
    for (id, digest, is_edited) in plan.classifier.rows.unseen() {
        match (options.stale_rows, is_edited && options.edited_rows == EditedRows::Keep) {
            (StaleRows::Delete, false) => deleted.push((id, digest)),
            (StaleRows::Delete, true) => {
                stale_conflicts.push(Conflict::of_row(id, ConflictReason::EditedAndGone));
            }
            (StaleRows::Keep, _) => stale += 1,
        }
    }
    let is_resumed = unfinished.is_some();
    let job = match unfinished {
        Some(job) => Job { holder: Uuid::new_v4(), ..job },
        None => Job {
            id: Uuid::new_v4(),
            run_id: new_run,
            origin,
            table_name: table.name.clone(),
            definition: table.definition(),
            status: JobStatus::Copying,
            holder: Uuid::new_v4(),
            created_table: false,
            counts: Counts::default(),
            problems: Vec::new(),
        },
    };
    let phases = Phases { scan: started.elapsed(), ..Phases::default() };
    let effort = Effort::Full;
    Ok(Prepared {
        registration: registration(plan.source.collection(), &table),
        has_table: state != TableState::Absent,
        is_served: false,
        plan,
        table,
        job,
        origins,
        is_resumed,
        deleted,
        stale,
        stale_conflicts,
        phases,
        effort,
    })
}

/// Creates the tables and records the jobs of transfers with changes, in one transaction.
pub(crate) async fn begin<'p>(
    database: &Database,
    prepared: impl IntoIterator<Item = &'p mut Prepared>,
    group: Option<&Group>,
) -> Result<(), Error> {
    let mut new_jobs: Vec<(&Table, &mut Job)> = Vec::new();
    for prepared in prepared {
        if prepared.is_resumed {
            if !prepared.has_table {
                database.restore_table(&prepared.table).await?;
            }
            database.take_over_job(&prepared.job).await?;
        } else if prepared.has_changes() {
            new_jobs.push((&prepared.table, &mut prepared.job));
        }
    }
    if new_jobs.is_empty() {
        return Ok(());
    }
    match group {
        None => database.begin_jobs(&mut new_jobs).await?,
        Some(group) => database.begin_group_jobs(&mut new_jobs, group).await?,
    }
    Ok(())
}
