//! One module a command.

mod config;
mod db;
mod demo;
mod dump;
mod inspect;
mod judge;
mod migrate;
mod search;

use crate::{
    arguments::{Arguments, Command},
    configuration::Configuration,
    exit::{ExitCode, Failure},
    logging,
};

/// Runs the command that `arguments` names.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let configuration = Configuration::load(&arguments.settings)?;
    logging::start(logging::level(configuration.log_level())?);
    match arguments.command {
        Command::Demo => demo::run(&configuration).await,
        Command::Migrate(arguments) => migrate::run(&configuration, *arguments).await,
        Command::Verify(arguments) => migrate::verify(&configuration, *arguments).await,
        Command::Inspect(arguments) => inspect::run(&configuration, arguments).await,
        Command::Dump(arguments) => dump::run(&configuration, arguments).await,
        Command::Search(arguments) => search::run(&configuration, &arguments).await,
        Command::Judge(command) => judge::run(&command),
        Command::Db(command) => db::run(&configuration, command).await,
        Command::Config { json } => config::run(&configuration, json),
    }
}
