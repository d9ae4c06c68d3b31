//! vectors: recall and latency of vector search, compared with pgbench and a Chroma server, on real texts.
//!
//! `cargo bench -p bench --bench vectors`. `PANOPTICON_BENCH_RECORDS` says how many records (default
//! `10000,100000,300000`); `PANOPTICON_BENCH_CHROMA` names the program `chroma` of version 1.5.9 (default: the one on
//! `PATH`; without one, Chroma is left out), `PANOPTICON_BENCH_BINARY` a `panopticon` to measure instead of the release
//! build, `PANOPTICON_BENCH_WORDNET` WordNet's folder (default: Debian's package `wordnet-base`, which is downloaded).
//!
//! The records are sentences of the evaluation data next to the workspace and WordNet's glosses, embedded once by our
//! model and cached; searches use sentences that are not stored. All contestants get the same vectors. For each size:
//!
//! - `ivfflat`, `store`: the storage's search in this process, given the vector, with IVFFlat (at a target of 0.98,
//!   up to 100,000 records) and with the index that the planner chooses. The settings are those that
//!   `panopticon index tune` measures.
//! - `pgbench`: the same transaction without our code.
//! - `http_vector`, `http_text`: `panopticon serve query`, given the vector or the text to embed.
//! - `old_service`: the recall of an index that was created on the empty table, with one probe.
//! - `chroma`: a Chroma server over HTTP, with the smallest `ef_search` that reaches our service's recall.
//!
//! `PANOPTICON_BENCH_SETS=all` measures instead, for texts of several kinds, the recall that tuning promises against that
//! of texts which are not stored, and writes `target/bench/promised.json`.
//!
//! Recall is measured for each of them, against an exact search. The report goes to `target/bench/vectors.json`, plots
//! next to it; results of earlier runs for other sizes stay in it.

mod chroma;
mod contest;
mod corpus;
mod embeddings;
mod filters;
mod measured;
mod old;
mod ours;
mod pgbench;
mod plot;
mod promised;
mod targets;
mod truth;

use std::{env, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use bench::{Panopticon, chroma_program, folder, psql, write_report};
use provision::{Access, DataDir, Durability, Server, ServerOptions};
use serde_json::{Value, json};

use self::{contest::Contest, embeddings::Corpus};

/// Texts to search for, which follow the stored ones.
const QUESTIONS: usize = 400;
/// Texts to store during searches.
const FURTHER: usize = 2_000;

#[tokio::main]
async fn main() -> Result<()> {
    let sizes = env::var("PANOPTICON_BENCH_RECORDS").unwrap_or_else(|_| "10000,100000,300000".to_owned());
    let sizes = sizes.split(',').map(|size| size.trim().parse::<usize>()).collect::<Result<Vec<_>, _>>();
    let sizes = sizes.context("PANOPTICON_BENCH_RECORDS is not a list of numbers")?;
    let largest = *sizes.iter().max().context("PANOPTICON_BENCH_RECORDS is empty")?;
    let data_dir = match env::var_os("PANOPTICON_DATA_DIR") {
        Some(path) => DataDir::new(path),
        None => DataDir::platform_default()?,
    };
    let model: PathBuf = match env::var_os("PANOPTICON_MODEL_DIR") {
        Some(path) => path.into(),
        None => provision::ensure_model(&data_dir, &|line| eprintln!("{line}"))?,
    };
    let options = ServerOptions {
        binaries: data_dir,
        cluster: folder()?.join("vectors"),
        durability: Durability::Full,
        access: Access::Loopback,
    };
    if let Some(names) = promised::names()? {
        let server = Server::start(&options, &|line| eprintln!("{line}"))?;
        promised::promised(&server, &model, &names, largest).await?;
        return Ok(server.release()?);
    }
    let corpus = Arc::new(Corpus::read(&model, largest + QUESTIONS + FURTHER)?);
    let panopticon = Panopticon::find_or_build()?;
    let chroma = chroma_program();
    if chroma.is_none() {
        eprintln!("program `chroma` not found: leaving out Chroma");
    }
    let server = Server::start(&options, &|line| eprintln!("{line}"))?;
    let mut reports = measured_before(&sizes)?;
    for rows in sizes {
        let database = format!("vectors_{rows}");
        psql(
            &server,
            "postgres",
            &[
                &format!("drop database if exists {database} with (force)"),
                &format!("create database {database}"),
            ],
        )?;
        let contest = Contest {
            server: &server,
            database,
            corpus: &corpus,
            rows,
            panopticon: &panopticon,
            model: &model,
            chroma: chroma.as_deref(),
        };
        reports.push(contest.run().await?);
        reports.sort_by_key(|report| report["rows"].as_u64());
        psql(&server, "postgres", &[&format!("drop database vectors_{rows} with (force)")])?;
        // Keeps the results if a later size fails.
        report(&reports)?;
    }
    server.release()?;
    let report = report(&reports)?;
    targets::print(&report);
    Ok(())
}

/// The reports of other sizes than these.
fn measured_before(sizes: &[usize]) -> Result<Vec<Value>> {
    let path = folder()?.join("vectors.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&path)?)
        .with_context(|| format!("`{}` is not a report", path.display()))?;
    let reports = report["sizes"].as_array().into_iter().flatten();
    let is_other = |report: &&Value| sizes.iter().all(|rows| report["rows"] != json!(rows));
    Ok(reports.filter(is_other).cloned().collect())
}

fn report(sizes: &[Value]) -> Result<Value> {
    let report = json!({ "sizes": sizes });
    write_report("vectors", &report)?;
    plot::plots(&report, &folder()?)?;
    Ok(report)
}
