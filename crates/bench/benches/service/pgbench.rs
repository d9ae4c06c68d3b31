//! The statements without the service, run by pgbench.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use bench::{folder, psql};
use provision::Server;
use serde_json::{Value, json};

const SECONDS: &str = "4";
const CLIENTS: &str = "8";

/// The statements of the service, as checked by the store's tests.
const GET: &str = include_str!("../../../store/src/postgres/sql/golden/select_records.sql");
const SEARCH: &str = include_str!("../../../store/src/postgres/sql/golden/nearest_exact.sql");

/// Rate and mean latency of a read and of a search.
pub(super) fn measure(server: &Server, database: &str) -> Result<Vec<(&'static str, Value)>> {
    let row = psql(server, database, &["select id || '|' || embedding::real[]::text from queries limit 1"])?;
    let (id, embedding) = row.split_once('|').context("the table has no row")?;
    // pgbench takes each line as a command.
    let script = |statement: &str, values: &[&str]| {
        let statement = values.iter().zip(1..).fold(statement.to_owned(), |statement, (value, number)| {
            statement.replace(&format!("${number}"), value)
        });
        format!("begin;\n{}\ncommit;\n", statement.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let get = script(GET, &[&format!("'{{{id}}}'")]);
    // 10 records of all.
    let search = script(SEARCH, &[&format!("'{embedding}'"), "10", &i64::MAX.to_string()]);
    [("get", get), ("search", search)]
        .into_iter()
        .map(|(name, script)| {
            let file = folder()?.join(format!("pgbench-{name}.sql"));
            fs::write(&file, script)?;
            let mut pgbench = Command::new(server.program("pgbench"));
            pgbench.args([
                "--no-vacuum",
                "--client",
                CLIENTS,
                "--time",
                SECONDS,
                "--protocol",
                "extended",
                "--file",
            ]);
            let output =
                pgbench.arg(&file).arg(server.url_of(database)).output().context("failed to run pgbench")?;
            let stdout = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
            let figure = |line: &str| {
                let line = stdout.lines().find_map(|found| found.strip_prefix(line));
                let figure =
                    line.and_then(|rest| rest.split_whitespace().find_map(|word| word.parse::<f64>().ok()));
                figure.with_context(|| format!("pgbench printed no `{line:?}`: {stdout}"))
            };
            Ok((name, json!({ "per_second": figure("tps")?, "mean_ms": figure("latency average")? })))
        })
        .collect()
}
