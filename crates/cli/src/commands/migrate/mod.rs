//! `panopticon migrate`: Chroma collections become PostgreSQL tables.

mod collections;
mod failure;
pub(crate) mod json;
pub(crate) mod names;
mod text;
mod transfers;

use std::{sync::Arc, time::Instant};

use migrate::{
    Comparison, EditedRows, Embed, MigrateOptions, Mode, Outcome, RejectedRecords, Report, StaleRows,
    Transfer, WholeSource,
};
use serde_json::Value;
use store::postgres::Database;
use uuid::Uuid;

use super::search::open_model;
use crate::{
    arguments::{MigrateArguments, MigrationScope, OnReject, TransferArguments},
    configuration::Configuration,
    connection::Connection,
    exit::{ExitCode, Failure},
    output::{print, print_json},
    progress::MigrationProgress,
};
use failure::of_migration;
pub(crate) use text::collections_to_text;
use text::to_text;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: MigrateArguments,
) -> Result<ExitCode, Failure> {
    if let Some(run) = arguments.undo {
        let edited_rows = if arguments.overwrite { EditedRows::Overwrite } else { EditedRows::Keep };
        return undo(configuration, run, edited_rows, arguments.json).await;
    }
    let resume_hint = ResumeHint { is_needed: !arguments.dry_run };
    let started = Instant::now();
    let mut sources = Vec::new();
    let result = migrate(configuration, &arguments, &mut sources).await;
    resume_hint.not_needed();
    conclude(result, &sources, arguments.json, started)
}

async fn migrate(
    configuration: &Configuration,
    arguments: &MigrateArguments,
    sources: &mut Vec<String>,
) -> Result<Report, Failure> {
    let transfer = &arguments.transfer;
    let mut index_policy = configuration.index_policy()?;
    if let Some(choice) = arguments.index {
        index_policy.index_type = choice.index_type();
    }
    // All sources are opened before anything is written, so that a wrong path stops the whole command.
    let work = Work::open(configuration, transfer, sources).await?;
    let embed = match transfer.embed_missing {
        true => Some(embed(configuration).await?),
        false => None,
    };
    let connection = Connection::open(configuration).await?;
    if let Err(refused) = work.check_names(&connection.database, transfer).await {
        connection.close().await?;
        return Err(refused);
    }
    let defaults = MigrateOptions::default();
    let options = MigrateOptions {
        mode: if arguments.dry_run { Mode::DryRun } else { Mode::Run },
        rejected_records: match arguments.on_reject {
            OnReject::Fail => RejectedRecords::Fail,
            OnReject::Quarantine => RejectedRecords::Quarantine,
        },
        stale_rows: if arguments.delete { StaleRows::Delete } else { StaleRows::Keep },
        edited_rows: if arguments.overwrite { EditedRows::Overwrite } else { EditedRows::Keep },
        comparison: if arguments.no_verify { Comparison::Skip } else { Comparison::Full },
        connections: arguments.jobs.map_or(defaults.connections, usize::from),
        batch_rows: arguments.batch_rows as usize,
        spool_bytes: defaults.spool_bytes,
        embed,
        index_policy,
    };
    let report = match work {
        Work::Transfers(transfers) => migrate_with_progress(&connection.database, transfers, &options).await,
        Work::Whole(whole) => {
            let progress = MigrationProgress::new();
            let observer = progress.observer();
            let result =
                Box::pin(migrate::migrate_collections(&connection.database, *whole, &options, &observer))
                    .await;
            progress.finish();
            result.map_err(Failure::from)
        }
    };
    connection.close().await?;
    report
}

/// What the command line selects.
pub(crate) enum Work {
    /// Collections by name.
    Transfers(Vec<Transfer>),
    /// All collections of a source.
    Whole(Box<WholeSource>),
}

impl Work {
    pub(crate) async fn open(
        configuration: &Configuration,
        arguments: &TransferArguments,
        sources: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        if arguments.what == Some(MigrationScope::Collections) {
            let whole = collections::open(configuration, arguments, sources).await?;
            return Ok(Self::Whole(Box::new(whole)));
        }
        transfers::open(configuration, arguments, sources).await.map(Self::Transfers)
    }
}

/// Migrates, with progress on standard error.
pub(crate) async fn migrate_with_progress(
    database: &Database,
    transfers: Vec<Transfer>,
    options: &MigrateOptions,
) -> Result<Report, Failure> {
    let progress = MigrationProgress::new();
    let result = migrate::migrate(database, transfers, options, &progress.observer()).await;
    progress.finish();
    Ok(result?)
}

async fn undo(
    configuration: &Configuration,
    run: Uuid,
    edited_rows: EditedRows,
    is_json: bool,
) -> Result<ExitCode, Failure> {
    let connection = Connection::open(configuration).await?;
    let result = migrate::undo(&connection.database, run, edited_rows).await;
    connection.close().await?;
    let result = result.map_err(Failure::from);
    if is_json {
        print_json(&json::undo_to_json(run, &result))?;
    }
    let report = result?;
    if !is_json {
        print(&text::undo_to_text(&report))?;
    }
    Ok(if report.is_complete() { ExitCode::Complete } else { ExitCode::Refused })
}

/// The embedding model, for records that have a text and no vector.
async fn embed(configuration: &Configuration) -> Result<Embed, Failure> {
    let model = open_model(configuration).await?;
    Ok(Arc::new(move |text| {
        let mut embeddings = model.embed(&[text])?;
        Ok(embeddings.remove(0))
    }))
}

/// Prints the report and returns its exit code.
pub(crate) fn conclude(
    result: Result<Report, Failure>,
    sources: &[String],
    is_json: bool,
    started: Instant,
) -> Result<ExitCode, Failure> {
    if is_json {
        let object: Value = json::to_json(sources, &result, started.elapsed());
        print_json(&object)?;
    }
    let report = result?;
    if !is_json {
        print(&to_text(&report))?;
    }
    Ok(match exit_code(&report) {
        ExitCode::Complete if !report.has_all_indexes() => ExitCode::Failed,
        code => code,
    })
}

fn exit_code(report: &Report) -> ExitCode {
    match report.outcome() {
        Outcome::Failed => {
            let failures = report.collections.iter().filter_map(|collection| collection.failure.as_deref());
            let codes: Vec<ExitCode> = failures.map(|error| of_migration(error).0).collect();
            // The worst first.
            let worst = [ExitCode::Failed, ExitCode::Usage, ExitCode::Refused];
            worst.into_iter().find(|code| codes.contains(code)).unwrap_or(ExitCode::Failed)
        }
        Outcome::Different => ExitCode::Different,
        Outcome::Conflicts => ExitCode::Refused,
        Outcome::Rejected => ExitCode::Rejected,
        Outcome::Stopped
        | Outcome::Copied
        | Outcome::Planned
        | Outcome::Verified
        | Outcome::NothingToMigrate => ExitCode::Complete,
    }
}

/// When a signal drops the command, tells the user how to resume.
struct ResumeHint {
    is_needed: bool,
}

impl ResumeHint {
    fn not_needed(mut self) {
        self.is_needed = false;
    }
}

impl Drop for ResumeHint {
    fn drop(&mut self) {
        if self.is_needed && !std::thread::panicking() {
            eprintln!("\ninterrupted; rerun the same command to resume");
        }
    }
}
