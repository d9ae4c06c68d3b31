//! End-to-end tests of the binary: arguments and environment in; exit code, output and rows out.

mod aging;
mod backup;
mod browser;
mod citus;
mod collections;
mod compatibility;
mod configuration;
mod connections;
mod demo;
mod doctor;
mod documentation;
mod dump;
mod faults;
mod generate;
mod health;
mod index;
mod inspect;
mod interrupted;
mod judge;
mod layers;
mod maintain;
mod migrate;
mod monitor;
mod names;
mod odd_rows;
mod ownership;
mod packaging;
mod places;
mod replicas;
mod repository;
mod runs;
mod self_signed;
mod serve;
mod server;
mod stopping;
mod three_services;
mod unreachable;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use test_support::{TestDatabase, data_dir};

/// `panopticon` in an empty environment and folder, without the developer's settings. It uses the machine's data folder,
/// so that nothing is downloaded again.
fn panopticon(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panopticon"));
    command.args(arguments).current_dir(folder).env_clear();
    for name in ["PATH", "HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.env("PANOPTICON_DATA_DIR", data_dir().path());
    command.envs(std::env::var_os("PANOPTICON_MODEL_DIR").map(|value| ("PANOPTICON_MODEL_DIR", value)));
    command
}

/// How a run ended and what it printed.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    Run {
        code: status.code().expect("it exits by itself"),
        stdout: String::from_utf8(stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(stderr).expect("messages are UTF-8"),
    }
}

/// Runs `arguments` on `database`, outside the async threads.
async fn run_on(database: &TestDatabase, arguments: &[&str]) -> Run {
    run_with(arguments, &[("DATABASE_URL", &database.url())]).await
}

/// Runs `arguments` in this environment, outside the async threads.
async fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), arguments);
    command.envs(environment.iter().copied());
    tokio::task::spawn_blocking(move || {
        let ended = run(&mut command);
        drop(folder);
        ended
    })
    .await
    .expect("the run does not panic")
}

/// The one object that a run printed.
fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}
