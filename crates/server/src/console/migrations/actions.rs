//! Jobs on runs: what `panopticon migrate --undo` and `verify` do.

use std::{path::Path, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use migrate::{EditedRows, Outcome, Phase, Report, SourceCollection, Transfer, UndoReport, VerifyOptions};
use schemars::JsonSchema;
use serde::Deserialize;
use store::{
    chroma::{ServerOptions, Source},
    postgres::{
        Database, Table,
        jobs::{Job, JobStatus},
    },
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{AREA, failed, no_run, run_link};
use crate::{
    answer::ApiError,
    console::form::Form,
    jobs::{Progress, Subject, TooManyJobs},
    process::Process,
};

/// Ids that a result names.
const SHOWN_IDS: usize = 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, ApiError>;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ToVerify {
    run: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ToUndo {
    run: String,
    #[serde(default)]
    overwrite: bool,
}

pub(super) async fn undo(
    State(process): State<Arc<Process>>,
    Form(ToUndo { run, overwrite }): Form<ToUndo>,
) -> Result<Response> {
    let (database, run) = of_run(&process, &run).await?;
    let edited_rows = if overwrite { EditedRows::Overwrite } else { EditedRows::Keep };
    start(&process, ("undo", run), move |_| async move {
        let report = migrate::undo(&database, run, edited_rows).await?;
        let said = undone(&report);
        if report.is_complete() { Ok(said) } else { Err(format!("not undone completely: {said}").into()) }
    })
}

pub(super) async fn verify(
    State(process): State<Arc<Process>>,
    Form(ToVerify { run }): Form<ToVerify>,
) -> Result<Response> {
    let (database, run) = of_run(&process, &run).await?;
    start(&process, ("verify", run), move |progress| async move {
        let transfers = transfers(&database, run).await?;
        let shown = progress.clone();
        let observer: migrate::Observer = Arc::new(move |event| report(&shown, event));
        let report =
            Box::pin(migrate::verify(&database, transfers, VerifyOptions::default(), &observer)).await?;
        let said = compared(&report);
        match report.outcome() {
            Outcome::Verified | Outcome::NothingToMigrate => Ok(said),
            other => Err(format!("{}: {said}", other.as_str()).into()),
        }
    })
}

/// The collections of a run with their tables, as the run has recorded them.
async fn transfers(database: &Database, run: Uuid) -> std::result::Result<Vec<Transfer>, BoxError> {
    let members = database.jobs_of_group(run).await?;
    let is_meant =
        |job: &Job| (job.run_id == run || members.contains(&job.id)) && job.status != JobStatus::Undone;
    let jobs: Vec<Job> = database.jobs().await?.into_iter().filter(is_meant).collect();
    let mut transfers = Vec::new();
    for job in jobs {
        let table = Table::from_definition(job.table_name.clone(), &job.definition)
            .ok_or_else(|| format!("the table `{}` was defined by a newer version", job.table_name))?;
        let origin = job.origin;
        // The source blocks while it is read.
        let handle = Handle::current();
        let opened = tokio::task::spawn_blocking(move || -> std::result::Result<_, BoxError> {
            let is_server = ["http://", "https://"].iter().any(|scheme| origin.source.starts_with(scheme));
            let source = match is_server {
                true => {
                    let options = ServerOptions {
                        tenant: Some(origin.tenant.clone()),
                        database: Some(origin.database.clone()),
                        ..ServerOptions::new(&origin.source)
                    };
                    Source::connect(&options, handle)?
                }
                false => Source::open(Path::new(&origin.source))?,
            };
            let is_same = |one: &&chroma::Collection| {
                (&one.name, &one.tenant, &one.database)
                    == (&origin.collection, &origin.tenant, &origin.database)
            };
            let collection = source.collections().iter().find(is_same).cloned();
            let missing = || {
                format!("the source `{}` has no collection `{}` any more", origin.source, origin.collection)
            };
            Ok(SourceCollection::new(source, collection.ok_or_else(missing)?))
        });
        transfers.push(Transfer { source: opened.await??, table });
    }
    Ok(transfers)
}

pub(super) fn report(progress: &Progress, event: migrate::Event<'_>) {
    match event {
        migrate::Event::Phase { collection, phase, .. } => {
            let doing = match phase {
                Phase::Target => "reads the table",
                Phase::Plan => "reads the source",
                Phase::Copy => "copies",
                Phase::Index => "builds the index",
                Phase::Verify => "compares both sides",
                Phase::Search => "compares searches",
                Phase::Collections => "goes through the collections",
            };
            progress.line(&format!("{collection}: {doing}"));
        }
        migrate::Event::Progress { done, total } => progress.at(done, total),
        migrate::Event::Step(_) => {}
    }
}

fn compared(report: &Report) -> String {
    let of_collections = report.collections.iter().map(|collection| {
        let name = &collection.origin.collection;
        let Some(found) = &collection.verification else {
            return format!("`{name}`: nothing to compare");
        };
        let digests = if found.digest_source == found.digest_target { "equal" } else { "different" };
        let parity = found.searches.parity.map_or_else(String::new, |parity| {
            format!(", {} searches agree to {:.1} %", found.searches.count, parity * 100.0)
        });
        format!(
            "`{name}`: {} of {} records match, {} missing, {} different, {} rejected, {} rows no longer in the source; digests are {digests}{parity}",
            found.matched,
            found.source_records,
            found.missing.len(),
            found.different.len(),
            found.rejects.len(),
            found.stale
        )
    });
    of_collections.collect::<Vec<_>>().join("; ")
}

fn undone(report: &UndoReport) -> String {
    let of_tables = report.tables.iter().map(|table| {
        let undone = &table.undone;
        let of = match table.collection.to_string() {
            same if same == table.table => String::new(),
            name => format!(", collection `{name}`"),
        };
        let (removed, restored) = (undone.removed, undone.restored);
        let mut said = format!("`{}`{of}: {removed} rows removed, {restored} restored", table.table);
        if undone.table_dropped {
            said += ", table dropped";
        }
        for (ids, why) in [(&table.kept, "kept, because edited"), (&undone.unchanged, "not changed")] {
            if !ids.is_empty() {
                let shown: Vec<String> = ids.iter().take(SHOWN_IDS).map(Uuid::to_string).collect();
                let more = if ids.len() > SHOWN_IDS { " and others" } else { "" };
                said += &format!(", {} {why}: {}{more}", ids.len(), shown.join(", "));
            }
        }
        said
    });
    let mut all: Vec<String> = of_tables.collect();
    let gone = &report.unregistered;
    let databases = gone.databases.iter().map(|(tenant, name)| format!("{tenant}/{name}"));
    let names: Vec<String> = gone
        .collections
        .iter()
        .map(ToString::to_string)
        .chain(databases)
        .chain(gone.tenants.iter().cloned())
        .collect();
    if !names.is_empty() {
        all.push(format!("no longer served: {}", names.join(", ")));
    }
    let descriptions = &report.descriptions;
    if !descriptions.restored.is_empty() {
        let restored: Vec<String> = descriptions.restored.iter().map(ToString::to_string).collect();
        all.push(format!("name, metadata and configuration restored: {}", restored.join(", ")));
    }
    if !descriptions.kept.is_empty() {
        let kept = descriptions.kept.iter().map(|(name, reason)| format!("{name} ({})", reason.as_str()));
        all.push(format!("name, metadata and configuration kept: {}", kept.collect::<Vec<_>>().join(", ")));
    }
    all.join("; ")
}

fn start<F>(
    process: &Process,
    (action, run): (&'static str, Uuid),
    work: impl FnOnce(Progress) -> F,
) -> Result<Response>
where
    F: Future<Output = std::result::Result<String, BoxError>> + Send + 'static,
{
    let of = run.to_string();
    let place = run_link(&of);
    let full = |TooManyJobs(limit)| ApiError::Busy { limit };
    process.jobs.start(Subject { area: AREA, action, of }, work).map_err(full)?;
    Ok(Redirect::to(&place).into_response())
}

/// The database and the run `id`, which it has.
async fn of_run(process: &Process, id: &str) -> Result<(Database, Uuid)> {
    let run = Uuid::try_parse(id).map_err(|_| no_run(id))?;
    let database = process.database.clone().ok_or_else(|| no_run(id))?;
    let members: Vec<Uuid> = database.jobs_of_group(run).await.map_err(failed)?.into_iter().collect();
    let found = database.jobs_of_run(run, &members).await.map_err(failed)?;
    if found.is_empty() { Err(no_run(id)) } else { Ok((database, run)) }
}
