//! The targets, and whether they are met.

use serde_json::{Value, json};

/// Rows per second, as multiples of those of `raw`, `rival` and `old`.
const OF_RAW: f64 = 0.8;
const OF_RIVAL: f64 = 4.0;
const OF_OLD: f64 = 300.0;
/// Verification reads the source as scan and copy do, and must be as fast as both together.
const VERIFY_OF_COPY: f64 = 1.0;
const MAX_RSS_MB: f64 = 400.0;
/// Applies from 100,000 records; with fewer, constant costs dominate.
const MAX_BYTES_PER_RECORD: f64 = 200.0;
const COUNTED_FROM: u64 = 100_000;
/// How much the time per row may grow with the size, beyond the growth of `raw`.
const MAX_FURTHER_GROWTH: f64 = 0.05;

fn number(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}

/// A number and its target.
fn at_least(found: Option<f64>, target: f64) -> String {
    let missed = |found: f64| if found < target { " MISSED" } else { "" };
    found.map_or("not measured".to_owned(), |found| {
        format!("{found:.2} x (target {target} x{})", missed(found))
    })
}

/// Prints a size's table of medians and ratios.
pub(super) fn print_size(report: &Value) {
    let records = report["records"].as_f64().unwrap_or(f64::NAN);
    let seconds = |who: &str| number(report, &format!("/medians/{who}/seconds"));
    let ours = |field: &str| number(report, &format!("/medians/ours/{field}"));
    let rate = |rows: Option<f64>, seconds: Option<f64>| Some(rows? / seconds?);
    let [raw, our, rival] = ["raw", "ours", "rival"].map(|who| rate(Some(records), seconds(who)));
    let old = rate(number(report, "/medians/old/rows"), seconds("old"));
    let verify = rate(Some(records), ours("verify_s"));
    let times = |theirs: Option<f64>| Some(our? / theirs?);
    let row = |name: &str, rate: Option<f64>, ratio: String| {
        let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        println!("  {name:<7} {rate:>9} rows/s  {ratio}");
    };
    println!("migrate/{records}: medians of {} rounds; ratio of ours to each", report["rounds"]);
    row("raw", raw, at_least(times(raw), OF_RAW));
    let field = |name: &str| ours(name).unwrap_or(f64::NAN);
    let phases = format!(
        "scan {:.2} s, copy {:.2} s; with start and index {:.2} s",
        field("scan"),
        field("copy"),
        field("wall_s")
    );
    row("ours", our, phases);
    let page = report["page"].as_u64().map_or(String::new(), |page| format!(", page {page}"));
    row("rival", rival, format!("{}{page}", at_least(times(rival), OF_RIVAL)));
    row("old", old, at_least(times(old), OF_OLD));
    let verify_ratio = verify.zip(our).map(|(verify, our)| verify / our);
    row("verify", verify, format!("{} of our copy", at_least(verify_ratio, VERIFY_OF_COPY)));
    let peak = field("rss_mb").max(field("verify_rss_mb"));
    let missed = if peak < MAX_RSS_MB { "" } else { " MISSED" };
    let rival = number(report, "/medians/rival/rss_mb")
        .map_or(String::new(), |found| format!(", rival {found:.0} MB"));
    println!(
        "  peak memory: migrate {:.0} MB, verify {:.0} MB (target below {MAX_RSS_MB} MB{missed}){rival}",
        field("rss_mb"),
        field("verify_rss_mb"),
    );
}

/// Prints and returns how time and memory grow from one size to a larger one.
pub(super) fn print_growth(small: &Value, large: &Value) -> Value {
    let records = |report: &Value| report["records"].as_u64().unwrap_or(0);
    let (from, to) = (records(small), records(large));
    let per_row = |report: &Value, who: &str| {
        Some(number(report, &format!("/medians/{who}/seconds"))? / records(report) as f64)
    };
    let growth = |who: &str| Some(per_row(large, who)? / per_row(small, who)? - 1.0);
    let (raw, ours) = (growth("raw"), growth("ours"));
    if let Some((raw, ours)) = raw.zip(ours) {
        let limit = raw + MAX_FURTHER_GROWTH;
        let missed = if ours <= limit { "" } else { " MISSED" };
        println!(
            "{from} -> {to} records: time per row {:+.0} % (raw {:+.0} %; target at most {:+.0} %{missed})",
            ours * 1e2,
            raw * 1e2,
            limit * 1e2
        );
    }
    let rss = |report: &Value| number(report, "/medians/ours/rss_mb");
    let more = rss(large).zip(rss(small)).map(|(large, small)| large - small);
    let further = to.saturating_sub(from).max(1) as f64;
    let bytes = more.map(|more| more * f64::from(1 << 20) / further);
    if let Some(bytes) = bytes {
        let missed = if from >= COUNTED_FROM && bytes > MAX_BYTES_PER_RECORD { " MISSED" } else { "" };
        let target = if from >= COUNTED_FROM {
            format!(" (target at most {MAX_BYTES_PER_RECORD}{missed})")
        } else {
            String::new()
        };
        println!("{from} -> {to} records: {bytes:.0} bytes of memory per additional record{target}");
    }
    json!({ "from": from, "to": to, "time_per_row": { "raw": raw, "ours": ours }, "bytes_per_record": bytes })
}
