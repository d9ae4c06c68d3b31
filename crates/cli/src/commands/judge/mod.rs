//! `panopticon judge`: reading judges' answers, and runs.

mod parse;
mod run;

use crate::{
    arguments::JudgeCommand,
    configuration::Configuration,
    exit::{ExitCode, Failure},
    interrupt::Signals,
};

pub(crate) async fn run(
    configuration: &Configuration,
    command: JudgeCommand,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    match command {
        JudgeCommand::Parse(arguments) => parse::run(&arguments),
        JudgeCommand::Run(arguments) => run::run(configuration, *arguments, signals).await,
    }
}
