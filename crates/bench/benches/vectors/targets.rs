//! The targets for the measurements.

use serde_json::Value;

/// Prints each target with what was measured.
pub(super) fn print(report: &Value) {
    for size in report["sizes"].as_array().into_iter().flatten() {
        println!("\n{} rows, {}", size["rows"], size["auto"]["index"].as_str().unwrap_or("no index"));
        let old = size["old_service"]["recall"].as_f64().unwrap_or(f64::NAN);
        println!("  the old service's index finds {:.2} of the ten nearest", old);
        for target in [0.95, 0.98, 0.99] {
            let of = |contestant: &str, clients: u64| {
                let points = size["unfiltered"].as_array()?;
                points.iter().find(|point| {
                    point["contestant"] == contestant
                        && point["target"] == target
                        && point["clients"] == clients
                })
            };
            let figure = |contestant: &str, clients: u64, field: &str| {
                of(contestant, clients).and_then(|point| point[field].as_f64()).unwrap_or(f64::NAN)
            };
            let recall = figure("store", 1, "recall");
            println!("  target {target}: recall {recall:.4} {}", verdict(recall >= target));
            for clients in [1, 4] {
                let (store, limit) =
                    (figure("store", clients, "mean_ms"), figure("pgbench", clients, "mean_ms"));
                let ratio = store / limit;
                println!(
                    "    {clients} client(s): store {store:.2} ms, {ratio:.2} of pgbench (at most 1.15) {}",
                    verdict(ratio <= 1.15)
                );
                let added = figure("http_vector", clients, "p50_ms") - figure("store", clients, "p50_ms");
                println!(
                    "    {clients} client(s): HTTP adds {added:.2} ms (at most 0.5) {}",
                    verdict(added <= 0.5)
                );
                let times = figure("chroma", clients, "p50_ms") / figure("http_vector", clients, "p50_ms");
                let recall = figure("chroma", clients, "recall");
                println!(
                    "    {clients} client(s): {times:.2} times as fast as Chroma, which finds {recall:.4} (at least 1.5) {}",
                    verdict(times >= 1.5)
                );
            }
        }
        let filtered = || size["filtered"].as_array().into_iter().flatten();
        let rows = size["rows"].as_f64().unwrap_or(f64::NAN);
        for ours in filtered().filter(|point| point["contestant"] == "http_vector") {
            let rival =
                filtered().find(|point| point["contestant"] == "chroma" && point["filter"] == ours["filter"]);
            let number = |point: &Value, field: &str| point[field].as_f64().unwrap_or(f64::NAN);
            let share = number(ours, "matching") / rows;
            let times = rival.map_or(f64::NAN, |rival| number(rival, "p50_ms") / number(ours, "p50_ms"));
            let is_met = if (0.009..=0.13).contains(&share) { verdict(times >= 5.0) } else { "" };
            println!(
                "  {:<28} {:>6.2} % match: {:.2} ms at {:.3}, {times:.1} times as fast as Chroma at {:.3} {is_met}",
                ours["filter"].as_str().unwrap_or(""),
                share * 100.0,
                number(ours, "p50_ms"),
                number(ours, "recall"),
                rival.map_or(f64::NAN, |rival| number(rival, "recall")),
            );
        }
        let writes = &size["under_writes"];
        let times = writes["p99_ms"].as_f64().unwrap_or(f64::NAN)
            / writes["quiet_p99_ms"].as_f64().unwrap_or(f64::NAN);
        println!(
            "  p99 under 200 writes per second: {times:.2} times the quiet one (below 3) {}",
            verdict(times < 3.0)
        );
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "" } else { "MISSED" }
}
