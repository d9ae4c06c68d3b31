//! The `panopticon` binary: parses the command line, runs the command, and turns its end into an exit code.

mod arguments;
mod commands;
mod configuration;
mod connection;
mod exit;
mod interrupt;
mod logging;
mod output;
mod progress;
mod source;

use std::{process, time::Duration};

use clap::Parser as _;
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};

use crate::{arguments::Arguments, exit::ExitCode};

/// Blocking work that a signal interrupts, such as a download, gets this long to notice.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> process::ExitCode {
    let arguments = Arguments::parse();
    if rustix::process::geteuid().is_root() {
        // PostgreSQL runs as another user then, who has to reach the programs that we unpack.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
    }
    let runtime = tokio::runtime::Runtime::new().expect("the operating system gives us threads");
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
        // Dropping the command stops the embedded server if we are its last user.
        tokio::select! {
            ended = commands::run(arguments) => ended,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::Interrupted),
            _ = terminate.recv() => Ok(ExitCode::Interrupted),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended.unwrap_or_else(|failure| failure.print()).into()
}
