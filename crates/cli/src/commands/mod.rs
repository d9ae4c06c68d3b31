//! One module per command.

mod backup;
mod config;
mod db;
mod demo;
mod distribute;
mod doctor;
mod dump;
mod generate;
mod health;
mod index;
mod inspect;
mod judge;
mod maintain;
mod migrate;
mod restore;
mod search;
mod serve;
mod verify;
mod version;

use clap::{CommandFactory as _, error::ErrorKind};

use crate::{
    arguments::{Arguments, Command, ServeArguments},
    configuration::Configuration,
    exit::{ExitCode, Failure},
    interrupt::Signals,
    logging,
};

/// Runs the command that `arguments` names, until it ends or a signal arrives.
pub(crate) async fn run(arguments: Arguments, mut signals: Signals) -> Result<ExitCode, Failure> {
    let command = match arguments.command {
        // Not an error of settings.
        _ if arguments.version => return version::run(arguments.json),
        Some(Command::Generate(command)) => return generate::run(&command),
        Some(command) => command,
        None => Arguments::command().error(ErrorKind::MissingSubcommand, "expected a command").exit(),
    };
    let configuration = Configuration::load(&arguments.settings)?;
    let (level, format) = configuration.logging()?;
    let command = match command {
        // On a signal, these finish what they have started.
        Command::Serve(arguments) => return serve::run(&configuration, &arguments, signals).await,
        Command::Demo { serve: true } => {
            let arguments = ServeArguments { demo: true, makes_demo: true, ..ServeArguments::default() };
            return serve::run(&configuration, &arguments, signals).await;
        }
        Command::Judge(command) => {
            logging::start(level, format, None);
            warn_of_remarks(&configuration);
            return judge::run(&configuration, command, &mut signals).await;
        }
        Command::Maintain(arguments) => {
            logging::start(level, format, None);
            warn_of_remarks(&configuration);
            return Box::pin(maintain::run(&configuration, &arguments, &mut signals)).await;
        }
        Command::Restore(arguments) => {
            logging::start(level, format, None);
            warn_of_remarks(&configuration);
            return Box::pin(restore::run(&configuration, &arguments, &mut signals)).await;
        }
        command => command,
    };
    logging::start(level, format, None);
    if !matches!(command, Command::Config { .. }) {
        warn_of_remarks(&configuration);
    }
    // Dropping the command stops the embedded server if we are its last user.
    tokio::select! {
        ended = run_to_end(&configuration, command) => ended,
        () = signals.next() => Ok(ExitCode::Interrupted),
    }
}

/// Logs what was ignored in `.env` files.
pub(crate) fn warn_of_remarks(configuration: &Configuration) {
    for remark in configuration.remarks() {
        tracing::warn!("{remark}");
    }
}

async fn run_to_end(configuration: &Configuration, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Demo { serve: _ } => demo::run(configuration, demo::Then::Advise).await,
        Command::Migrate(arguments) => migrate::run(configuration, *arguments).await,
        Command::Verify(arguments) => verify::run(configuration, *arguments).await,
        Command::Inspect(arguments) => inspect::run(configuration, arguments).await,
        Command::Dump(arguments) => dump::run(configuration, arguments).await,
        Command::Search(arguments) => search::run(configuration, &arguments).await,
        Command::Index(command) => index::run(configuration, command).await,
        Command::Doctor { json, replicas } => doctor::run(configuration, json, &replicas).await,
        Command::Health(arguments) => health::run(configuration, &arguments).await,
        Command::Backup(arguments) => backup::run(configuration, &arguments).await,
        Command::Db(command) => db::run(configuration, command).await,
        Command::Config { json } => config::run(configuration, json),
        Command::Serve(_)
        | Command::Judge(_)
        | Command::Maintain(_)
        | Command::Restore(_)
        | Command::Generate(_) => {
            unreachable!("they are handled above")
        }
    }
}
