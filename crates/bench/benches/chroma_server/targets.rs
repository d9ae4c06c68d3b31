//! The targets against Chroma, and whether they are met.

use serde_json::Value;

use super::contest::{Contest, PHASES};

/// How many times as fast as Chroma a request is to be.
const TARGETS: [(&str, f64); 6] = [
    ("query", 1.5),
    ("query_4_clients", 2.5),
    ("query_where_1_percent", 6.0),
    ("query_where_10_percent", 6.0),
    ("get_1", 2.0),
    ("get_100", 2.0),
];
const ADD: f64 = 2.0;
const MEMORY_MB: f64 = 150.0;

/// Prints a table of ratios.
pub(super) fn print(report: &Value) {
    let measured = &report["measured"];
    println!("{} records, recall {:.4}", report["records"], report["recall"].as_f64().unwrap_or(f64::NAN));
    println!(
        "{:<24} {:>10} {:>10} {:>7} {:>7} {:>12} {:>12} {:>12}",
        "request", "p50 ms", "Chroma's", "times", "target", "server's cpu", "PostgreSQL's", "Chroma's cpu"
    );
    for phase in PHASES {
        let figure = |server: &str, field: &str| {
            measured[format!("{server}/{}", phase.name)][field].as_f64().unwrap_or(f64::NAN)
        };
        // With several clients the rate counts.
        let times = Contest::ratio(measured, phase.name, "per_second").unwrap_or(f64::NAN);
        let target = TARGETS.iter().find(|(name, _)| *name == phase.name);
        println!(
            "{:<24} {:>10.2} {:>10.2} {times:>7.2} {:>7} {:>12.2} {:>12.2} {:>12.2}",
            phase.name,
            figure("panopticon", "p50_ms"),
            figure("chroma", "p50_ms"),
            target.map_or_else(String::new, |(_, target)| format!("{target:.1}")),
            figure("panopticon", "server_cpu_ms"),
            figure("panopticon", "postgres_cpu_ms"),
            figure("chroma", "server_cpu_ms"),
        );
    }
    let added = Contest::ratio(measured, "add", "per_second").unwrap_or(f64::NAN);
    println!("add: {added:.2} x Chroma, target {ADD:.1}");
    println!("memory: {}, target {MEMORY_MB} MiB", report["memory_mb"]);
}
