//! The steps after planning, for one collection: copy, index, comparison, manifest.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use chroma::Warning;
use serde_json::{Value, json};
use store::postgres::{
    Database, Table,
    jobs::{Counts, Job, JobStatus},
    schema::{ServerDescription, TableState},
};
use uuid::Uuid;

use crate::{
    Error,
    copy::{CopyOptions, copy},
    observe::{Counter, Event, Observer, Phase, Step},
    options::{Comparison, MigrateOptions},
    parity::ComparedRows,
    plan::Plan,
    prepare::{Effort, Prepared},
    read::SourceCollection,
    report::{CollectionReport, Conflict, ConflictReason, Phases, Verification},
    verify::{VerifyTask, verify},
};

/// A collection that was carried out.
pub(crate) struct Ended {
    pub(crate) report: CollectionReport,
    /// Of a small collection, the job with its manifest: it is complete once that is recorded.
    pub(crate) to_complete: Option<(Job, Value)>,
}

/// Copies, builds the index and compares.
pub(crate) async fn carry_out(
    database: &Database,
    prepared: Prepared,
    server: &ServerDescription,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<Ended, Error> {
    let has_work = prepared.is_resumed || prepared.has_changes();
    let Prepared {
        plan, table, job, mut origins, deleted, stale, stale_conflicts, effort, has_table, ..
    } = prepared;
    let mut phases = prepared.phases;
    // Only the job of a run quarantines records of that run.
    let mut may_have_quarantined = prepared.is_resumed || !origins.own_runs.is_empty();
    // Of a table that this run has created, nothing else here builds an index.
    let may_have_index = has_table || effort != Effort::Small;
    if has_work && !origins.own_runs.contains(&job.run_id) {
        origins.own_runs.push(job.run_id);
    }
    let name = job.origin.collection.clone();
    let planned_rejects = plan.classifier.tally.rejects.len();
    let same_source = |rejects: usize| match rejects.saturating_sub(planned_rejects) {
        0 => Ok(()),
        records => Err(Error::SourceChanged { collection: name.clone(), records }),
    };
    let mut report = CollectionReport::new(job.origin.clone(), &table.name, job.run_id);
    let (source, mut copied) = if has_work {
        let started = Instant::now();
        if plan.classifier.tally.exceeds_half {
            upkeep::drop_half_precision(database, &table)
                .await
                .map_err(Error::store("drop the index of", &table.name))?;
        }
        let copy_options = CopyOptions {
            connections: if effort == Effort::Small { 1 } else { options.copying_connections() as usize },
            batches: options.batches(job.run_id),
            embed: options.embed.clone(),
            rejected: options.rejected_records,
            deleted,
            is_served: prepared.is_served,
        };
        let copied = copy(database, &job, plan, copy_options, observer).await?;
        same_source(copied.classifier.tally.rejects.len() - copied.written.refused.len())?;
        if effort != Effort::Small {
            database.set_job_status(&job, JobStatus::Copied, None).await?;
        }
        observer(Event::Step(Step::Copied));
        phases.copy = started.elapsed();

        if effort.builds_index() {
            let started = Instant::now();
            match build_index(database, &table, job.run_id, options, observer).await? {
                Ok(plan) => report.index = Some(plan),
                Err(failure) => report.index_failure = Some(failure),
            }
            observer(Event::Step(Step::Indexed));
            phases.index = started.elapsed();
        }

        let mut tally = copied.classifier.tally;
        may_have_quarantined |= tally.quarantined > 0 || !copied.written.refused.is_empty();
        let appeared = copied.written.conflicting.iter().map(|id| (*id, ConflictReason::BornHere));
        let meanwhile = appeared.chain(copied.written.edited.iter().map(|id| (*id, ConflictReason::Edited)));
        tally.conflicts.extend(meanwhile.map(|(id, reason)| Conflict::of_row(id, reason)));
        tally.conflicts.extend(stale_conflicts);
        let mut report = tally.into_report(copied.written.counts, stale, copied.warnings);
        report.digest_source = copied.digest_source;
        (copied.source, report)
    } else {
        let Plan { source, classifier, warnings, .. } = plan;
        let mut tally = classifier.tally;
        tally.conflicts.extend(stale_conflicts);
        (source, tally.into_report(Counts::default(), stale, warnings))
    };
    let has_rows = has_work || (has_table && !origins.own_runs.is_empty());
    if options.comparison == Comparison::Full && has_rows {
        let missing_vectors = options.choices().missing_vectors;
        let task = VerifyTask {
            table: &table,
            state: TableState::Ready,
            origins: &origins,
            missing_vectors,
            most_searches: effort.most_searches(),
            may_have_quarantined,
            may_have_index,
        };
        let (mut verification, warnings) = verify_one(database, source, task, &mut phases, observer).await?;
        let refused = verification.rejects.iter().filter(|reject| reject.is_by_table()).count();
        same_source(verification.rejects.len() - refused)?;
        explain_by_conflicts(&mut verification, &table, &copied.conflicts);
        copied.warnings = warnings;
        copied.digest_source = verification.digest_source.clone();
        report.verification = Some(verification);
        observer(Event::Step(Step::Verified));
    }
    report.copied = Some(copied);
    report.phases = phases;
    let mut to_complete = None;
    if has_work {
        let manifest = manifest(&report, server);
        if effort == Effort::Small {
            to_complete = Some((job, manifest));
        } else {
            database.set_job_status(&job, JobStatus::Complete, Some(&manifest)).await?;
            observer(Event::Step(Step::Complete));
        }
    }
    Ok(Ended { report, to_complete })
}

/// Builds the vector index that `table` needs after `run`; returns the error if the server refuses.
pub(crate) async fn build_index(
    database: &Database,
    table: &Table,
    run: Uuid,
    options: &MigrateOptions,
    observer: &Observer,
) -> Result<Result<upkeep::Plan, String>, Error> {
    Counter::begin(observer, &table.name, Phase::Index, 0);
    let progress = |event: upkeep::Event<'_>| match event {
        upkeep::Event::Building { done, total } | upkeep::Event::Measuring { done, total } => {
            observer(Event::Progress { done, total });
        }
        upkeep::Event::Change(_) | upkeep::Event::Tuning(_) | upkeep::Event::LeftOut { .. } => {}
    };
    match upkeep::apply_after_copy(database, table, run, &options.index_policy, &progress).await {
        Ok(applied) => Ok(Ok(applied.plan)),
        // The rows are complete without the index, and the comparison must still show that.
        Err(error) if error.is_refusal() => Ok(Err(chain(&error))),
        Err(error) => Err(Error::store("build the index of", &table.name)(error)),
    }
}

/// Removes findings that the copy has already reported as conflicts.
fn explain_by_conflicts(verification: &mut Verification, table: &Table, conflicts: &[Conflict]) {
    let known: HashSet<Uuid> = conflicts.iter().map(|conflict| conflict.id).collect();
    let is_known = |source_id: &str| known.contains(&table.row_id(source_id));
    // A row created in PostgreSQL does not belong to the collection.
    verification.missing.retain(|source_id| !is_known(source_id));
    verification.different.retain(|difference| !is_known(&difference.source_id));
}

/// Compares records, then searches.
pub(crate) async fn verify_one(
    database: &Database,
    source: SourceCollection,
    task: VerifyTask<'_>,
    phases: &mut Phases,
    observer: &Observer,
) -> Result<(Verification, Vec<Warning>), Error> {
    let started = Instant::now();
    let (table, origins, name) = (task.table, task.origins, source.collection().name.clone());
    let may_have_index = task.may_have_index;
    let is_absent = task.state == TableState::Absent;
    let verified = verify(database, source, task, observer).await?;
    phases.verify = started.elapsed();
    let started = Instant::now();
    let mut verification = verified.verification;
    if is_absent {
        return Ok((verification, verified.warnings));
    }
    let counter = Counter::begin(observer, &name, Phase::Search, verified.nearest.count());
    let rows = ComparedRows { different: &verified.different, are_alone: verified.is_alone, may_have_index };
    let searches = verified.nearest.compare(database, table, origins, rows, counter);
    verification.searches = searches.await?;
    phases.search = started.elapsed();
    Ok((verification, verified.warnings))
}

fn chain(error: &store::Error) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The manifest of a run, kept for later comparison.
fn manifest(report: &CollectionReport, server: &ServerDescription) -> Value {
    let seconds = |duration: Duration| duration.as_secs_f64();
    let copied = report.copied.as_ref();
    let verification = report.verification.as_ref();
    json!({
        "status": report.outcome().as_str(),
        "index_failure": report.index_failure,
        "source_records": report.source_records(),
        "written": copied.map(|copied| copied.written),
        "updated": copied.map(|copied| copied.updated),
        "unchanged": copied.map(|copied| copied.unchanged),
        "deleted": copied.map(|copied| copied.deleted),
        "conflicts": copied.map(|copied| copied.conflicts.len()),
        "rejected": copied.map(|copied| copied.rejects.len()),
        "rows": verification.map(|verification| verification.rows),
        "matched": verification.map(|verification| verification.matched),
        "digest_source": verification.map(|verification| verification.digest_source.as_str()),
        "digest_target": verification.map(|verification| verification.digest_target.as_str()),
        "search_parity": verification.and_then(|verification| verification.searches.parity),
        "index_recall": verification.and_then(|verification| verification.searches.index_recall),
        "panopticon": env!("CARGO_PKG_VERSION"),
        "postgresql": server.postgresql,
        "pgvector": server.pgvector,
        "seconds": {
            "scan": seconds(report.phases.scan),
            "copy": seconds(report.phases.copy),
            "index": seconds(report.phases.index),
            "verify": seconds(report.phases.verify),
            "search": seconds(report.phases.search),
        },
    })
}
