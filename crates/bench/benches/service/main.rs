//! service/N: stores, searches and reads per second over HTTP with N stored queries, compared with a Python service.
//!
//! `cargo bench -p bench --bench service`, with an interpreter that has what `rivals/requirements.txt` pins in
//! `PANOPTICON_BENCH_PYTHON` (default `python3`). `PANOPTICON_BENCH_QUERIES` says how many queries are stored initially
//! (default 20000), `PANOPTICON_BENCH_LONGEST` leaves out texts of more bytes. `PANOPTICON_BENCH_BINARY` names a
//! `panopticon` to measure instead of the release build, `PANOPTICON_BENCH_CHROMA` the program `chroma` (default: the
//! one on `PATH`; without one, ours on Chroma is left out).
//!
//! - `postgres`: `panopticon serve query` on the embedded PostgreSQL, in `target/bench/migrate`.
//! - `chroma`: the same on ChromaDB, which it starts itself.
//! - `fastapi`: `rivals/service_rival.py` on another database of the same PostgreSQL.
//! - `pgbench`: the statements of `postgres` for a read and for a search, without HTTP and embedding.
//!
//! Each is one process and its store. Rounds alternate between the contestants while the others idle. The load comes
//! from this process, on the same machine. The texts are complete real queries. Besides rates and latencies, the report
//! has the processor time per request, of the service and of PostgreSQL, which other load on the machine affects less.
//! It goes to `target/bench/service.json`.

mod contest;
mod pgbench;
mod targets;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use bench::{Panopticon, Service, chroma_program, folder, median, psql, write_report};
use provision::{Access, DataDir, Durability, Server, ServerOptions};
use serde_json::{Map, Value, json};

use crate::contest::{READING, STORING, Texts};

const ROUNDS: usize = 3;
/// Differs from the services' default ports.
const FIRST_PORT: u16 = 18_101;

#[tokio::main]
async fn main() -> Result<()> {
    let queries = match env::var("PANOPTICON_BENCH_QUERIES") {
        Ok(queries) => queries.parse().context("PANOPTICON_BENCH_QUERIES is not a number")?,
        Err(_) => 20_000,
    };
    let longest = match env::var("PANOPTICON_BENCH_LONGEST") {
        Ok(longest) => longest.parse().context("PANOPTICON_BENCH_LONGEST is not a number")?,
        Err(_) => usize::MAX,
    };
    let texts = Texts::read(queries, longest)?;
    let data_dir = match env::var_os("PANOPTICON_DATA_DIR") {
        Some(path) => DataDir::new(path),
        None => DataDir::platform_default()?,
    };
    let model = match env::var_os("PANOPTICON_MODEL_DIR") {
        Some(path) => path.into(),
        None => provision::ensure_model(&data_dir, &|line| eprintln!("{line}"))?,
    };
    let panopticon = Panopticon::find_or_build()?;
    let options = ServerOptions {
        binaries: data_dir,
        cluster: folder()?.join("migrate"),
        durability: Durability::Full,
        access: Access::Loopback,
    };
    let server = Server::start(&options, &|line| eprintln!("{line}"))?;
    let report = compare(&server, &panopticon, &model, &texts).await?;
    server.release()?;
    write_report("service", &report)
}

async fn compare(server: &Server, panopticon: &Panopticon, model: &Path, texts: &Texts) -> Result<Value> {
    for name in ["service_ours", "service_rival"] {
        psql(
            server,
            "postgres",
            &[&format!("drop database if exists {name} with (force)"), &format!("create database {name}")],
        )?;
    }
    let ours_url = server.url_of("service_ours");
    let rival_url = server.url_of("service_rival");

    let serve = |port: u16| {
        let mut command = panopticon.command();
        command.args(["serve", "query", "--port", &port.to_string()]).env("PANOPTICON_MODEL_DIR", model);
        // Only ours would have an index that is built during the rounds.
        command.env("MAINTENANCE", "off");
        command
    };
    let mut services = Vec::new();
    let mut ours = serve(FIRST_PORT);
    services.push(Service::start("postgres", ours.env("DATABASE_URL", &ours_url), FIRST_PORT).await?);
    // The rival uses the table that our service makes.
    Service::start("preparation", serve(FIRST_PORT + 3).env("DATABASE_URL", &rival_url), FIRST_PORT + 3)
        .await?;
    if let Some(chroma) = chroma_program() {
        let directory = folder()?.join("service-chroma");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        let mut command = serve(FIRST_PORT + 1);
        command.env("QUERY_STORAGE_TYPE", "chroma").env("CHROMA_PERSIST_DIRECTORY", &directory);
        command.env("PATH", chroma.parent().context("the program has no folder")?);
        services.push(Service::start("chroma", &mut command, FIRST_PORT + 1).await?);
    } else {
        eprintln!("program `chroma` not found: leaving out ours on Chroma");
    }
    let python = env::var_os("PANOPTICON_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let mut rival = Command::new(python);
    rival.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rivals/service_rival.py"));
    rival.args(["--port", &(FIRST_PORT + 2).to_string()]);
    rival.env("DATABASE_URL", &rival_url).env("MODEL_DIR", model);
    services.push(Service::start("fastapi", &mut rival, FIRST_PORT + 2).await?);

    for service in &services {
        contest::fill(service, texts).await?;
    }
    for database in ["service_ours", "service_rival"] {
        psql(server, database, &["vacuum analyze queries", "checkpoint"])?;
    }
    let mut rounds: Map<String, Value> = Map::new();
    let mut note = |name: &str, round: Value| {
        let rounds = rounds.entry(name).or_insert_with(|| json!([]));
        rounds.as_array_mut().expect("it is a list").push(round);
    };
    let postgres = server_process(server)?;
    for phases in [&READING[..], &STORING[..]] {
        for round in 0..ROUNDS {
            for phase in phases {
                for service in &services {
                    let measured = contest::measure(service, postgres, *phase, texts, round).await?;
                    eprintln!(
                        "round {round} {:<9} {:<13} {:>9.1} /s",
                        service.name(),
                        phase.name(),
                        measured["per_second"].as_f64().unwrap_or(f64::NAN)
                    );
                    note(&format!("{}/{}", service.name(), phase.name()), measured);
                }
            }
            if phases == READING {
                for (name, measured) in pgbench::measure(server, "service_ours")? {
                    note(&format!("pgbench/{name}"), measured);
                }
            }
        }
    }
    let medians: Map<String, Value> = rounds
        .iter()
        .map(|(name, rounds)| {
            let rounds = rounds.as_array().expect("it is a list");
            let fields = ["per_second", "p50_ms", "p99_ms", "mean_ms", "service_cpu_ms", "postgres_cpu_ms"]
                .map(|field| (field.to_owned(), json!(median(rounds, field))));
            (name.clone(), Value::Object(Map::from_iter(fields)))
        })
        .collect();
    let processes = services.iter().map(|service| {
        let (now, peak) = service.memory_mb()?;
        Ok((
            service.name().to_owned(),
            json!({ "ready_ms": service.ready_ms, "memory_mb": now, "peak_memory_mb": peak }),
        ))
    });
    let processes = processes.collect::<Result<Map<_, _>>>()?;
    let report = json!({ "queries": texts.stored(), "texts": texts.describe(model)?, "medians": medians, "processes": processes, "rounds": rounds });
    targets::print(&report);
    Ok(report)
}

/// The process id of the server.
fn server_process(server: &Server) -> Result<u32> {
    let file = server.folder().join("data/postmaster.pid");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
    Ok(text.lines().next().context("no line in postmaster.pid")?.trim().parse()?)
}
