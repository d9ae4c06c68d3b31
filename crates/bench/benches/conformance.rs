//! conformance: generated requests against the served OpenAPI description, on PostgreSQL and on ChromaDB.
//!
//! `cargo bench -p bench --bench conformance`, with the program of what `conformance/requirements.txt` pins in
//! `PANOPTICON_BENCH_SCHEMATHESIS` (default `schemathesis`). `PANOPTICON_BENCH_EXAMPLES` says how many requests are
//! generated for each operation at most (default 200), `PANOPTICON_BENCH_SEED` is the seed (default 1);
//! `PANOPTICON_BENCH_BINARY` and `PANOPTICON_BENCH_CHROMA` name programs, as for the benchmark `service`.
//!
//! Valid and invalid requests go to every operation of the gateway; later requests use what earlier ones stored. A mock
//! provider serves the models, so that no key is needed. The benchmark fails unless every operation was called, with at
//! least 10,000 requests in total, and each response has a documented status other than 5xx and the documented type
//! and schema. The report goes to `target/bench/conformance.json`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bench::{Panopticon, Service, chroma_program, folder, write_report};
use provision::Durability;
use serde_json::{Map, Value, json};
use test_support::{Llmock, PostgresServer};

const LEAST_REQUESTS: u64 = 10_000;
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance";
const GATEWAY_PORT: u16 = 18_121;

#[tokio::main]
async fn main() -> Result<()> {
    let panopticon = Panopticon::find_or_build()?;
    let chroma =
        chroma_program().context("program `chroma` is neither on PATH nor in PANOPTICON_BENCH_CHROMA")?;
    let llmock = Llmock::start(&[]);
    let postgres = PostgresServer::private(Durability::None, &[]).await;

    let mut report = Map::new();
    for storage in ["postgres", "chroma"] {
        let database = postgres.create_database(&format!("conformance_{storage}")).await;
        let directory = folder()?.join("conformance-chroma");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        let mut command = panopticon.command();
        command.arg("serve").env("DATABASE_URL", &database).env("OPENAI_BASE_URL", llmock.url("openai"));
        command.env("PATH", chroma.parent().context("the program has no folder")?);
        let roles = ["GATEWAY_PORT", "QUERY_PORT", "EVALUATION_PORT", "JUDGE_PORT"];
        for (port, role) in (GATEWAY_PORT..).zip(roles) {
            command.env(role, port.to_string());
        }
        let services = [("QUERY", "CHROMA"), ("EVALUATION", "EVALUATION"), ("JUDGE", "JUDGE")];
        for (service, folder) in services {
            command.env(format!("{service}_STORAGE_TYPE"), storage);
            command.env(format!("{folder}_PERSIST_DIRECTORY"), directory.join(service));
        }
        let service = Service::start(storage, &mut command, GATEWAY_PORT).await?;
        prepare(&service).await?;
        report.insert(storage.to_owned(), check(storage)?);
    }
    write_report("conformance", &Value::Object(report))
}

/// Stores what `conformance/hooks.py` names.
async fn prepare(service: &Service) -> Result<()> {
    for (path, body) in [
        ("models", json!({ "id": "mock", "provider": "openai" })),
        (
            "evaluation-metrics",
            json!({ "id": "conformance", "prompt": "Is it right?", "metric_type": "quality" }),
        ),
        ("queries", json!({ "query": "Why?", "theme": "conformance" })),
    ] {
        let answer = service.endpoint().post(&format!("/api/v1/{path}"), &body).await;
        answer.map_err(anyhow::Error::msg).with_context(|| format!("failed to prepare {path}"))?;
    }
    Ok(())
}

/// Runs schemathesis, and returns the parts of its report that say what it has done.
fn check(storage: &str) -> Result<Value> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let program =
        env::var_os("PANOPTICON_BENCH_SCHEMATHESIS").map_or_else(|| "schemathesis".into(), PathBuf::from);
    let report = folder()?.join(format!("conformance-{storage}.json"));
    let status = Command::new(&program)
        .args(["run", &format!("http://127.0.0.1:{GATEWAY_PORT}/openapi.json"), "--checks", CHECKS])
        .args(["--max-examples", &setting("PANOPTICON_BENCH_EXAMPLES", "200")])
        .args(["--seed", &setting("PANOPTICON_BENCH_SEED", "1")])
        // One worker: with more, CPython 3.11 sometimes fails to parse the source of schemathesis.
        .args(["--workers", "1", "--continue-on-failure", "--request-timeout", "60", "--report", "json"])
        .arg("--report-json-path")
        .arg(&report)
        .env("SCHEMATHESIS_HOOKS", Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/hooks.py"))
        .current_dir(folder()?)
        .status()
        .with_context(|| format!("failed to run `{}`", program.display()))?;
    ensure!(status.success(), "on {storage}: schemathesis found faults, or failed ({status})");
    let report: Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    let (operations, requests) = (&report["operations"], &report["test_cases"]["generated"]);
    ensure!(
        operations["tested"] == operations["total"],
        "on {storage}: not every operation was called: {operations}"
    );
    ensure!(
        requests.as_u64().is_some_and(|requests| requests >= LEAST_REQUESTS),
        "on {storage}: {requests} requests, expected at least {LEAST_REQUESTS}"
    );
    let part = |name: &str| (name.to_owned(), report[name].clone());
    let parts =
        ["schemathesis_version", "seed", "running_time", "operations", "phases", "test_cases", "warnings"];
    Ok(Value::Object(parts.map(part).into_iter().collect()))
}
