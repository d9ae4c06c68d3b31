//! The statements alone, by pgbench.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use bench::{folder, psql};
use provision::Server;
use serde_json::{Value, json};

const SECONDS: &str = "4";
const CLIENTS: &str = "8";

/// Rate and mean latency for a read and for a search, as the service has them.
pub(super) fn measure(server: &Server, database: &str) -> Result<Vec<(&'static str, Value)>> {
    let row = psql(server, database, &["select id || '|' || embedding::text from queries limit 1"])?;
    let (id, embedding) = row.split_once('|').context("the table has no row")?;
    let columns = "id, source_id, query_text, theme, metadata::text, created_at";
    let get = format!("begin;\nselect {columns} from queries where id = '{id}';\ncommit;\n");
    let search = format!(
        "begin;\nselect {columns}, embedding <=> '{embedding}' as distance from queries
        where embedding is not null order by embedding <=> '{embedding}' limit 10;\ncommit;\n"
    );
    [("get", get), ("search", search)]
        .into_iter()
        .map(|(name, script)| {
            let file = folder()?.join(format!("pgbench-{name}.sql"));
            // pgbench takes a line for a command.
            fs::write(&file, script.replace("\n        ", " "))?;
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
                figure.with_context(|| format!("pgbench does not say `{line:?}`: {stdout}"))
            };
            Ok((name, json!({ "per_second": figure("tps")?, "mean_ms": figure("latency average")? })))
        })
        .collect()
}
