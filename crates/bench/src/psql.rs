//! SQL by psql, the client of PostgreSQL.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use provision::Server;

/// What psql prints for `commands`, run one after the other in the server's `database`.
///
/// # Errors
/// When one of them fails.
pub fn psql(server: &Server, database: &str, commands: &[&str]) -> Result<String> {
    let mut psql = Command::new(server.program("psql"));
    psql.args(["-XqAt", "--set", "ON_ERROR_STOP=1", "--dbname", &server.url_of(database)]);
    psql.args(commands.iter().flat_map(|command| ["--command", command]));
    let output = psql.output().context("failed to run psql")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "failed to run {commands:?}: {stderr}");
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
