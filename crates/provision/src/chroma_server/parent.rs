//! Starts a program that the kernel terminates when we end, however we end.
//!
//! The program that starts it must ask the kernel itself, between `fork` and `exec`, where little is safe to do. So a
//! launcher asks, a program of ours, and then becomes the other one.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use rustix::process::{Pid, getpid, getppid};

use crate::postgres::without_libpq;

/// The first argument of a launcher, which calls [`run_with_parent`] with the others.
pub const RUN_WITH_PARENT: &str = "run-with-parent";

/// A command for `program` that ends with the thread that starts it, if the system can do so.
pub(super) fn command(launcher: &Path, program: &Path) -> Command {
    let mut command = if cfg!(any(target_os = "linux", target_os = "android")) {
        let mut command = Command::new(launcher);
        command.arg(RUN_WITH_PARENT).arg(getpid().to_string()).arg(program);
        command
    } else {
        Command::new(program)
    };
    without_libpq(&mut command);
    command
}

/// Becomes the program that `arguments` name after the id of our parent, and is terminated when the parent's thread
/// that started us ends. Returns only if that fails.
pub fn run_with_parent(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let parent = arguments.next().and_then(|id| id.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return io::Error::new(ErrorKind::InvalidInput, "expected a parent's process id and a program");
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        return error.into();
    }
    // It may have ended before the kernel was asked.
    if getppid() != Some(parent) {
        return io::Error::new(ErrorKind::BrokenPipe, "the parent has ended");
    }
    Command::new(program).args(arguments).exec()
}
