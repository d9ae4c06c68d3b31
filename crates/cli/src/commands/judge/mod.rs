//! `panopticon judge`: reading judges' answers, runs, and agreement with people.

mod agreement;
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
        JudgeCommand::Agreement(arguments) => {
            tokio::select! {
                done = agreement::run(configuration, arguments) => done,
                () = signals.next() => Ok(ExitCode::Interrupted),
            }
        }
        JudgeCommand::Run(arguments) => run::run(configuration, *arguments, signals).await,
    }
}
