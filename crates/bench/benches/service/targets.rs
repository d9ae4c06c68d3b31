//! The targets against the Python service, and whether they are met.

use serde_json::Value;

const STORE: f64 = 5.0;
const STORE_BATCHED: f64 = 4.0;
const SEARCH: f64 = 4.0;
const MEMORY: f64 = 0.25;
const READY_MS: f64 = 1_000.0;

/// Prints a table of medians and ratios.
pub(super) fn print(report: &Value) {
    let median = |name: &str, field: &str| report["medians"][name][field].as_f64();
    println!("{}", report["texts"]);
    println!(
        "{:<10} {:<14} {:>10} {:>9} {:>9} {:>11} {:>11}",
        "service", "request", "per second", "p50 ms", "p99 ms", "its cpu ms", "pg's cpu ms"
    );
    let medians = report["medians"].as_object().into_iter().flatten();
    for (name, figures) in medians {
        let (service, phase) = name.split_once('/').expect("names have two parts");
        let figure = |field: &str| figures[field].as_f64().unwrap_or(f64::NAN);
        println!(
            "{service:<10} {phase:<14} {:>10.1} {:>9.2} {:>9.2} {:>11.2} {:>11.2}",
            figure("per_second"),
            figure("p50_ms"),
            figure("p99_ms"),
            figure("service_cpu_ms"),
            figure("postgres_cpu_ms")
        );
    }
    let targets = [
        ("store", Some(STORE)),
        ("store_batched", Some(STORE_BATCHED)),
        ("search", Some(SEARCH)),
        ("search_theme", Some(SEARCH)),
        ("get", None),
    ];
    for (phase, target) in targets {
        let of = |service: &str| median(&format!("{service}/{phase}"), "per_second");
        let times = of("postgres").zip(of("fastapi")).map(|(ours, theirs)| ours / theirs);
        println!("{phase}: {}", beside(times, "x FastAPI", target, |found, target| found >= target));
        let cpu = |service: &str| {
            let part = |field: &str| median(&format!("{service}/{phase}"), field);
            Some(part("service_cpu_ms")? + part("postgres_cpu_ms")?)
        };
        if let Some((ours, theirs)) = cpu("postgres").zip(cpu("fastapi")) {
            println!("{phase}: {:.2} x FastAPI by processor time", theirs / ours);
        }
        if let Some((ours, chroma)) = of("postgres").zip(of("chroma")) {
            println!("{phase}: {:.2} x ours on Chroma", ours / chroma);
        }
        if let Some((ours, bare)) =
            median(&format!("postgres/{phase}"), "p50_ms").zip(median(&format!("pgbench/{phase}"), "mean_ms"))
        {
            println!("{phase}: p50 {ours:.2} ms, of which {bare:.2} ms are the statements by pgbench");
        }
    }
    let process = |name: &str, field: &str| report["processes"][name][field].as_f64();
    let memory = process("postgres", "peak_memory_mb").zip(process("fastapi", "peak_memory_mb"));
    println!(
        "memory: {}",
        beside(memory.map(|(ours, theirs)| ours / theirs), "x FastAPI", Some(MEMORY), |found, target| found
            <= target)
    );
    println!(
        "start to ready: {}",
        beside(process("postgres", "ready_ms"), "ms", Some(READY_MS), |found, target| found <= target)
    );
}

fn beside(found: Option<f64>, unit: &str, target: Option<f64>, is_met: impl Fn(f64, f64) -> bool) -> String {
    let Some(found) = found else { return "not measured".to_owned() };
    match target {
        Some(target) if is_met(found, target) => format!("{found:.2} {unit} (target {target})"),
        Some(target) => format!("{found:.2} {unit} (target {target}, MISSED)"),
        None => format!("{found:.2} {unit}"),
    }
}
