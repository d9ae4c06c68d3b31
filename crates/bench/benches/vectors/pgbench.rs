//! The same transaction by pgbench, to measure the overhead of our code.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use bench::folder;
use provision::Server;
use serde_json::{Value, json};

use super::{
    embeddings::Corpus,
    truth::{LIMIT, Truth},
};

/// pgbench takes at most 128 scripts, and picks one at random.
const QUESTIONS: usize = 100;
const SECONDS: &str = "2";

/// The statements of the store, as checked by its tests.
const BY_INDEX: &str = include_str!("../../../store/src/postgres/sql/golden/nearest_by_index.sql");
const EXACT: &str = include_str!("../../../store/src/postgres/sql/golden/nearest_exact.sql");

/// Searches without a filter, with these search settings (none for exact searches). Settings and search are sent in one
/// message, which is one transaction, as the store sends them.
pub(super) fn measure(
    server: &Server,
    database: &str,
    corpus: &Corpus,
    truth: &Truth,
    settings: Option<&str>,
    clients: usize,
) -> Result<Value> {
    let folder = folder()?.join("pgbench");
    fs::create_dir_all(&folder)?;
    let mut pgbench = Command::new(server.program("pgbench"));
    pgbench.args(["--no-vacuum", "--protocol", "simple", "--time", SECONDS]);
    pgbench.args(["--client", &clients.to_string(), "--jobs", &clients.to_string()]);
    for (place, question) in truth.questions().iter().take(QUESTIONS).enumerate() {
        let embedding = format!("'{}'", serde_json::to_string(corpus.vector(*question))?);
        let statement = if settings.is_some() { BY_INDEX } else { EXACT };
        // pgbench takes each line as a command.
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let statement = statement.replace("$1::real[]", &embedding).replace("$2", &LIMIT.to_string());
        let statement = statement.replace("$3", &i64::MAX.to_string());
        let settings = settings.map_or_else(String::new, |settings| format!(" \\; {settings}"));
        let script = format!("set local statement_timeout = 30000{settings} \\; {statement}\n");
        let path = folder.join(format!("{place}.sql"));
        fs::write(&path, script)?;
        pgbench.arg("--file").arg(path);
    }
    let output = pgbench.arg(server.url_of(database)).output().context("failed to run pgbench")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    let figure = |line: &str| {
        let line = stdout.lines().find_map(|found| found.strip_prefix(line));
        let figure = line.and_then(|rest| rest.split_whitespace().find_map(|word| word.parse::<f64>().ok()));
        figure.with_context(|| format!("pgbench printed no `{line:?}`: {stdout}"))
    };
    Ok(json!({ "clients": clients, "mean_ms": figure("latency average")?, "per_second": figure("tps")? }))
}
