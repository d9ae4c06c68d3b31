//! What benchmarks share. They are in `benches/`, the rivals that are Python in `rivals/`.

use serde_json::Value;

/// The median of a numeric field of several reports; `None` if none has it.
pub fn median(reports: &[Value], field: &str) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(|report| report[field].as_f64()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Peak resident memory of this process, in MiB.
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}
