//! chroma_server: `panopticon serve chroma` compared with a Chroma server, request by request, over HTTP.
//!
//! `cargo bench -p bench --bench chroma_server`. `PANOPTICON_BENCH_RECORDS` says how many records are stored (default
//! 100000); `PANOPTICON_BENCH_CHROMA` names the program `chroma` of version 1.5.9 (default: the one on `PATH`),
//! `PANOPTICON_BENCH_BINARY` a `panopticon` to measure instead of the release build.
//!
//! Both servers get the same bodies from this process: records with a vector of 384 components, a document and
//! metadata. The vectors are synthetic, clustered and of length one, and the same in every run. Ours runs on the embedded
//! PostgreSQL with the default settings; it gets its vector index from `panopticon maintain --once` after the records
//! are added. Rounds alternate between the servers while the other idles. Recall is measured against an exact search;
//! Chroma searches with the smallest `ef_search` that reaches our recall.
//!
//! Besides rates and latencies, the report has the processor time per request, of the server and of PostgreSQL, which
//! other load on the machine affects less. It goes to `target/bench/chroma_server.json`.

mod contest;
mod records;
mod server;
mod targets;

use std::{env, process::Command, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use bench::{Panopticon, chroma_program, folder, psql, write_report};
use provision::{Access, DataDir, Durability, Server, ServerOptions};
use serde_json::json;

use self::{contest::Contest, records::Records, server::ChromaServer};

const DATABASE: &str = "chroma_server";
/// Differs from the servers' default ports.
const FIRST_PORT: u16 = 18_201;
/// `ef_search` of Chroma, whose default is 100.
const CHROMA_CANDIDATES: [u32; 8] = [20, 40, 60, 80, 100, 150, 250, 500];

#[tokio::main]
async fn main() -> Result<()> {
    let count = match env::var("PANOPTICON_BENCH_RECORDS") {
        Ok(count) => count.parse().context("PANOPTICON_BENCH_RECORDS is not a number")?,
        Err(_) => 100_000,
    };
    let program = chroma_program().context("program `chroma` not found: set PANOPTICON_BENCH_CHROMA")?;
    let panopticon = Panopticon::find_or_build()?;
    let data_dir = match env::var_os("PANOPTICON_DATA_DIR") {
        Some(path) => DataDir::new(path),
        None => DataDir::platform_default()?,
    };
    let options = ServerOptions {
        binaries: data_dir,
        cluster: folder()?.join("chroma_server"),
        durability: Durability::Full,
        access: Access::Loopback,
    };
    let server = Server::start(&options, &|line| eprintln!("{line}"))?;
    let drop = format!("drop database if exists {DATABASE} with (force)");
    psql(&server, "postgres", &[&drop, &format!("create database {DATABASE}")])?;
    eprintln!("finding the exact neighbours among {count} records");
    let records = Arc::new(Records::new(count));

    let mut serve = panopticon.command();
    serve.args(["serve", "chroma", "--port", &FIRST_PORT.to_string()]);
    serve.env("DATABASE_URL", server.url_of(DATABASE)).env("MAINTENANCE", "off");
    let postgres = Some(server_process(&server)?);
    let mut ours = ChromaServer::start("panopticon", serve, FIRST_PORT, postgres).await?;
    let directory = folder()?.join("chroma_server-chroma");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let mut run = Command::new(program);
    run.args(["run", "--host", "127.0.0.1", "--port", &(FIRST_PORT + 1).to_string(), "--path"]);
    run.arg(&directory);
    let mut theirs = ChromaServer::start("chroma", run, FIRST_PORT + 1, None).await?;

    let mut contest = Contest::new(records);
    for one in [&mut ours, &mut theirs] {
        contest.fill(one).await?;
    }
    let began = Instant::now();
    let mut maintain = panopticon.command();
    maintain.args(["maintain", "--once"]).env("DATABASE_URL", server.url_of(DATABASE));
    ensure!(maintain.status()?.success(), "`panopticon maintain --once` failed");
    let indexing_seconds = began.elapsed().as_secs_f64();
    eprintln!("maintenance took {indexing_seconds:.1} s");
    // Chroma fills its index when it is first asked.
    let began = Instant::now();
    contest.recall(&theirs).await?;
    let backfill_seconds = began.elapsed().as_secs_f64();
    // A server sees a new index after some seconds.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let wanted = contest.recall(&ours).await?;
    let mut curve = Vec::new();
    for candidates in CHROMA_CANDIDATES {
        theirs.set_candidates(candidates).await?;
        let recall = contest.recall(&theirs).await?;
        eprintln!("chroma, ef_search {candidates}: recall {recall:.4}, ours {wanted:.4}");
        curve.push(json!({"ef_search": candidates, "recall": recall}));
        if recall >= wanted {
            break;
        }
    }
    contest.compare(&ours, &theirs).await?;
    let memory = json!({"panopticon": ours.memory_mb()?, "chroma": theirs.memory_mb()?});
    let report = json!({
        "records": count, "recall": wanted, "chroma_recall": curve, "indexing_seconds": indexing_seconds,
        "chroma_first_query_seconds": backfill_seconds, "memory_mb": memory, "measured": contest.measured(),
    });
    targets::print(&report);
    std::mem::drop((ours, theirs));
    std::fs::remove_dir_all(directory)?;
    psql(&server, "postgres", &[&drop])?;
    server.release()?;
    write_report("chroma_server", &report)
}

/// The process id of PostgreSQL.
fn server_process(server: &Server) -> Result<u32> {
    let file = server.folder().join("data/postmaster.pid");
    let text = std::fs::read_to_string(&file);
    let text = text.with_context(|| format!("failed to read `{}`", file.display()))?;
    Ok(text.lines().next().context("no line in postmaster.pid")?.trim().parse()?)
}
