//! Child processes that are run to their end.

use std::process::{Command, Stdio};

use crate::error::Error;

/// Runs `command` and returns its output.
pub(crate) fn run(command: &mut Command, program: &str) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Spawn { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(Error::Program { program: program.to_owned(), status: output.status, output: last_lines(printed, 3) })
}

/// The last `count` lines of a program's output, on one line.
pub(crate) fn last_lines(output: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
