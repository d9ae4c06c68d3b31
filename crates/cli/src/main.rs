//! The `panopticon` binary: parses the command line, runs the command and returns its exit code.

mod arguments;
mod commands;
mod configuration;
mod connection;
mod dotenv;
mod environment;
mod exit;
mod interrupt;
mod logging;
mod masking;
mod output;
mod progress;
mod remedy;
mod screen;
mod settings;
mod source;
mod telemetry;

use std::{env, process, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _};
use records::Unfinished;
use rustix::fs::Mode;

use crate::{arguments::Arguments, interrupt::Signals, settings::help::with_variables};

/// glibc's allocator keeps freed memory: a load that briefly needed 700 MB left 1.5 GB resident.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Time that interrupted blocking work, such as a download, has to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> process::ExitCode {
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|first| first == provision::RUN_WITH_PARENT) {
        return failed(&provision::run_with_parent(words));
    }
    if let Err(error) = environment::take_libpq() {
        return failed(&error);
    }
    environment::trust_certificates();
    let matches = with_variables(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if rustix::process::geteuid().is_root() {
        // PostgreSQL then runs as another user, who has to reach the programs that we unpack.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
    }
    let runtime = tokio::runtime::Runtime::new().expect("the operating system gives us threads");
    let ended = runtime.block_on(async { Box::pin(commands::run(arguments, Signals::new())).await });
    Unfinished::wait(SHUTDOWN_TIMEOUT);
    // Not shut down: what other threads still await would panic.
    std::mem::forget(runtime);
    ended.unwrap_or_else(|failure| failure.print()).into()
}

/// Prints why the process could not be set up.
fn failed(error: &std::io::Error) -> process::ExitCode {
    eprintln!("error: {error}");
    process::ExitCode::FAILURE
}
