//! Starts a program that the kernel terminates when this process ends for any reason.
//!
//! The child itself must request this from the kernel, between `fork` and `exec`, where few operations are safe. So a
//! launcher, which is one of our programs, requests it and then executes the other program.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use rustix::process::{Pid, getpid, getppid};

use crate::postgres::without_libpq;

/// The first argument of a launcher, which calls [`run_with_parent`] with the remaining arguments.
pub const RUN_WITH_PARENT: &str = "run-with-parent";

/// A command for `program` that ends with the thread that starts it, if the system supports this.
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

/// Executes the program that `arguments` name after the id of the parent process. It is terminated when the parent's thread
/// that started it ends. Returns only on failure.
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
    // It may have ended before the request.
    if getppid() != Some(parent) {
        return io::Error::new(ErrorKind::BrokenPipe, "the parent has ended");
    }
    Command::new(program).args(arguments).exec()
}
