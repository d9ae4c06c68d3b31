//! Starting a migration: what `panopticon migrate` does for the services' collections, or `migrate collections` for all.

use std::sync::Arc;

use ::records::Service;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use chroma::Collection;
use maud::{Markup, html};
use migrate::{
    MigrateOptions, Outcome, Placement, RejectedRecords, Report, SourceCollection, Transfer, WholeSource,
};
use schemars::JsonSchema;
use serde::Deserialize;
use store::{
    chroma::{ServerOptions, Source},
    postgres::{Database, Table, is_own_relation},
};
use tokio::{runtime::Handle, sync::oneshot, task::spawn_blocking};

use super::{AREA, actions};
use crate::{
    answer::ApiError,
    config::UpkeepConfig,
    console::{Section, form::Form, text, view::View},
    jobs::{Progress, Subject, TooManyJobs},
    migration_sources::AllowedSource,
    process::Process,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Memory for planned batches: less than in the command, since the services run in the same process.
const SPOOL_BYTES: usize = 32 << 20;
/// Connections for copying, for the same reason.
const CONNECTIONS: usize = 2;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ToStart {
    source: String,
    what: What,
    #[serde(default)]
    on_reject: OnReject,
}

/// What is migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum What {
    /// The services' collections, into their tables.
    Services,
    /// Every collection, into a table of its own.
    Collections,
}

/// What is done with records that PostgreSQL cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnReject {
    #[default]
    Fail,
    Quarantine,
}

pub(super) async fn start(
    State(process): State<Arc<Process>>,
    Form(ToStart { source, what, on_reject }): Form<ToStart>,
) -> Result<Response, ApiError> {
    let (database, upkeep) = process.database.clone().zip(process.upkeep).ok_or_else(no_database)?;
    let allowed = process.config.migration_sources.clone();
    let given = source.clone();
    let found = spawn_blocking(move || allowed.find(&given)).await;
    let found = found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let found = found.ok_or_else(|| {
        let reason = "it is not a directory in one of the folders, and not one of the servers, that the settings allow";
        ApiError::invalid("source", reason)
    })?;
    let of = match &found {
        AllowedSource::Directory(path) => path.display().to_string(),
        AllowedSource::Server(url) => url.clone(),
    };
    let rejected_records = match on_reject {
        OnReject::Fail => RejectedRecords::Fail,
        OnReject::Quarantine => RejectedRecords::Quarantine,
    };
    let options = MigrateOptions { rejected_records, ..options(upkeep) };
    let full = |TooManyJobs(limit)| ApiError::Busy { limit };
    let work = move |progress| carry_out(database, (found, what), options, progress);
    process.jobs.start(Subject { area: AREA, action: "migrate", of }, work).map_err(full)?;
    Ok(Redirect::to(&Section::Migrations.path()).into_response())
}

fn options(UpkeepConfig { policy, .. }: UpkeepConfig) -> MigrateOptions {
    let defaults = MigrateOptions::default();
    MigrateOptions {
        connections: defaults.connections.min(CONNECTIONS),
        spool_bytes: SPOOL_BYTES,
        index_policy: policy,
        ..defaults
    }
}

async fn carry_out(
    database: Database,
    (source, what): (AllowedSource, What),
    options: MigrateOptions,
    progress: Progress,
) -> Result<String, BoxError> {
    progress.line("opens the source");
    // The source blocks while it is read.
    let handle = Handle::current();
    let opened = spawn_blocking(move || open(&source, what, &handle)).await??;
    let shown = progress.clone();
    let observer: migrate::Observer = Arc::new(move |event| actions::report(&shown, event));
    let handle = Handle::current();
    // Dropped with this future, when the process is stopped.
    let (_running, stopped) = oneshot::channel::<()>();
    // A migration has a thread of its own: its future is not `Send`.
    let migrating = spawn_blocking(move || {
        handle.block_on(async {
            tokio::select! {
                report = Box::pin(opened.migrate(&database, &options, &observer)) => report.map_err(BoxError::from),
                _ = stopped => Err("the server was stopped".into()),
            }
        })
    });
    ended(&migrating.await??)
}

/// What is migrated, opened.
enum Opened {
    Services(Vec<Transfer>),
    Collections(Box<WholeSource>),
}

impl Opened {
    async fn migrate(
        self,
        database: &Database,
        options: &MigrateOptions,
        observer: &migrate::Observer,
    ) -> Result<Report, migrate::Error> {
        match self {
            Self::Services(transfers) => {
                Box::pin(migrate::migrate(database, transfers, options, observer)).await
            }
            Self::Collections(whole) => {
                Box::pin(migrate::migrate_collections(database, *whole, options, observer)).await
            }
        }
    }
}

fn open(source: &AllowedSource, what: What, handle: &Handle) -> Result<Opened, BoxError> {
    let opened = open_source(source, handle)?;
    Ok(match what {
        What::Services => {
            let mut transfers = Vec::new();
            for (service, collection) in of_services(&opened)? {
                let source = SourceCollection::new(open_source(source, handle)?, collection);
                transfers.push(Transfer { source, table: Table::of(service) });
            }
            Opened::Services(transfers)
        }
        What::Collections => Opened::Collections(Box::new(WholeSource {
            collections: opened.collections().to_vec(),
            empty_databases: opened.empty_databases().to_vec(),
            source: opened,
            placement: Placement::for_own_tables(),
            is_reserved: is_own_relation,
            is_selected: Box::new(|_| true),
        })),
    })
}

fn open_source(source: &AllowedSource, handle: &Handle) -> Result<Source, BoxError> {
    Ok(match source {
        AllowedSource::Directory(path) => Source::open(path)?,
        AllowedSource::Server(url) => Source::connect(&ServerOptions::new(url), handle.clone())?,
    })
}

/// The services' collections in the source.
fn of_services(source: &Source) -> Result<Vec<(Service, Collection)>, BoxError> {
    let mut meant = Vec::new();
    for service in Service::ALL {
        let named = |collection: &&Collection| collection.name == service.collection();
        let mut found = source.collections().iter().filter(named);
        let Some(collection) = found.next() else { continue };
        if found.next().is_some() {
            return Err(format!(
                "several databases of the source have a collection `{}`: migrate one of them by the command `migrate`",
                service.collection()
            )
            .into());
        }
        meant.push((service, collection.clone()));
    }
    if meant.is_empty() {
        let names = Service::ALL.map(Service::collection).join(", ");
        return Err(format!("the source has none of the collections {names}").into());
    }
    Ok(meant)
}

/// What a report says; an error unless everything is in PostgreSQL.
fn ended(report: &Report) -> Result<String, BoxError> {
    let of_collections = report.collections.iter().map(|collection| {
        let copied = collection.copied.as_ref().map_or_else(String::new, |copied| {
            format!(
                "{} written, {} updated, {} unchanged; ",
                copied.written, copied.updated, copied.unchanged
            )
        });
        let failure = collection
            .failure
            .as_ref()
            .map_or_else(String::new, |failure| format!("; {}", ::records::error_chain(&**failure)));
        let rejects = collection.copied.as_ref().map_or(0, |copied| copied.rejects.len());
        let rejects = if rejects > 0 { format!("; {rejects} rejected") } else { String::new() };
        format!(
            "`{}`: {copied}{}{rejects}{failure}",
            collection.origin.collection,
            collection.outcome().as_str()
        )
    });
    let said = of_collections.collect::<Vec<_>>().join("; ");
    let said = if said.is_empty() { "the source has no collections".to_owned() } else { said };
    match report.outcome() {
        Outcome::Verified | Outcome::NothingToMigrate => Ok(said),
        Outcome::Rejected => {
            Err(format!("{said}. The records that PostgreSQL cannot store can be kept apart: start again so")
                .into())
        }
        _ => Err(said.into()),
    }
}

/// The form, or how to allow it.
pub(super) fn form(view: &View) -> Markup {
    let sources = &view.process.config.migration_sources;
    html! {
        h2 #start { "Start a migration" }
        @if sources.is_empty() {
            p.note {
                "No folder and no server is allowed. To start migrations here, name those with ChromaDB data in "
                code { (view.process.config.setting_names.migration_sources) } ", or use the command:"
            }
            pre { "panopticon migrate query --from CHROMA_DIRECTORY" }
        } @else {
            form.edit method="post" action={ (Section::Migrations.path()) "/start" } {
                (view.token())
                label { "Chroma directory, or URL of a Chroma server"
                    input name="source" required list="sources" autocomplete="off" spellcheck="false";
                }
                datalist #sources { @for name in sources.names() { option value=(text::plain(&name)) {} } }
                label { "what"
                    select name="what" {
                        option value="services" { "the services' collections: queries, metrics, outputs" }
                        option value="collections" { "every collection, into a table of its own" }
                    }
                }
                label { "records that PostgreSQL cannot store"
                    select name="on_reject" {
                        option value="fail" { "stop before anything is changed" }
                        option value="quarantine" { "keep them apart, and copy the others" }
                    }
                }
                div { button type="submit" { "Start" } }
            }
            p.note {
                "Allowed by the settings: directories in "
                @for (place, name) in sources.names().iter().enumerate() { @if place > 0 { ", " } code { (text::text(name)) } }
                ". The source is never written to. Starting an interrupted migration again resumes it."
            }
        }
    }
}

fn no_database() -> ApiError {
    ApiError::NoRecord { noun: "PostgreSQL database", id: "of this process".to_owned() }
}
