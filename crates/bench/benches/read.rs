//! read/l2, read/cosine: speed of reading a complete Chroma directory, compared with Chroma's Python client.
//!
//! `cargo bench -p bench --bench read`, with an interpreter that has chromadb in `PANOPTICON_BENCH_PYTHON` (default
//! `python3`; `rivals/requirements.txt` pins it). That chromadb also writes the directories, once, to
//! `target/bench/read`: `PANOPTICON_BENCH_RECORDS` (default 100,000) records of 384 dimensions with a document of
//! about 300 characters and three metadata keys.
//!
//! The time of ours runs from opening the directory to the last record, on one thread; that of the rival is only its
//! `get()` calls, at the best of several page sizes, with its index loaded. Rounds alternate, so that other load on the
//! machine affects both alike, and all files are cached after the first. Every round compares what was read, vectors
//! bit for bit. The report goes to `target/bench/read.json`.

use std::{env, ops::ControlFlow, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use bench::{copy_for_rival, directory_by_chroma, median, peak_rss_mb, run_rival, utf8, write_report};
use chroma::{PersistDirectory, Vector};
use serde_json::{Value, json};

const ROUNDS: usize = 5;

/// Records per call of the rival's `get()`. More than 32,766 fail: "too many SQL variables".
const PAGES: [u64; 4] = [1_000, 5_000, 20_000, 30_000];

/// Targets: records per second, and as a multiple of the rival's.
const TARGET_RECORDS_PER_S: f64 = 150_000.0;
const TARGET_RATIO: f64 = 10.0;

/// Rounding error of a component of a cosine vector after Chroma has divided and multiplied it by the length.
const ROUNDED_ULP: u64 = 2;

fn main() -> Result<()> {
    let records = env::var("PANOPTICON_BENCH_RECORDS").ok().map_or(Ok(100_000), |text| text.parse())?;
    let mut reports = serde_json::Map::new();
    for space in ["l2", "cosine"] {
        let directory = directory_by_chroma(space, records)?;
        reports.insert(space.to_owned(), compare(&directory, space, records)?);
    }
    write_report("read", &Value::Object(reports))
}

fn compare(directory: &Path, space: &str, records: u64) -> Result<Value> {
    let copy = copy_for_rival(directory)?;
    let read_theirs = |page: u64| -> Result<Value> {
        let output = run_rival("read_rival.py", &["read", utf8(&copy)?, "--page", &page.to_string()], &[])?;
        serde_json::from_str(&output).with_context(|| format!("no report in `{output}`"))
    };
    let mut by_page = Vec::new();
    for page in PAGES {
        let report = read_theirs(page)?;
        eprintln!("{space}: chromadb, page {page}: {report}");
        by_page.push((page, report["seconds"].as_f64().context("no `seconds`")?));
    }
    let best = by_page.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(page, _)| *page);
    read_ours(directory)?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (our, their) = (read_ours(directory)?, read_theirs(best)?);
        eprintln!("{space}, round {round}: ours {our}\n  theirs {their}");
        for field in ["records", "characters", "keys"] {
            ensure!(our[field] == their[field], "{field}: ours {}, theirs {}", our[field], their[field]);
        }
        // Chroma returns cosine vectors rounded; we return them as written, while the log has them.
        let may_differ = if space == "cosine" { our["from_log"].as_u64() } else { None };
        let (our_bits, their_bits) =
            our["bits"].as_u64().zip(their["bits"].as_u64()).context("no `bits` to compare")?;
        let difference = our_bits.wrapping_sub(their_bits).cast_signed().unsigned_abs();
        ensure!(
            difference <= may_differ.unwrap_or(0) * 384 * ROUNDED_ULP,
            "vectors differ: sum of bits {our_bits}, theirs {their_bits}"
        );
        ensure!(our["records"] == records, "expected {records} records, found {}", our["records"]);
        ours.push(our);
        theirs.push(their);
    }
    let rate = |reports: &[Value]| median(reports, "seconds").map(|seconds| records as f64 / seconds);
    let (our_rate, their_rate) = rate(&ours).zip(rate(&theirs)).context("no times")?;
    let ratio = our_rate / their_rate;
    let missed = |found: f64, target: f64| if found < target { " MISSED" } else { "" };
    println!(
        "read/{space}: {our_rate:.0} records/s (target {TARGET_RECORDS_PER_S:.0}{}), {ratio:.1} x chromadb {} at its \
         best page of {best} ({their_rate:.0} records/s; target {TARGET_RATIO} x{}); peak memory {:.0} MB, theirs {:.0}",
        missed(our_rate, TARGET_RECORDS_PER_S),
        theirs.first().and_then(|report| report["version"].as_str()).unwrap_or("?"),
        missed(ratio, TARGET_RATIO),
        median(&ours, "rss_mb").unwrap_or(f64::NAN),
        median(&theirs, "rss_mb").unwrap_or(f64::NAN),
    );
    Ok(json!({ "records": records, "dimension": 384, "rounds": ROUNDS, "pages": by_page, "best_page": best,
        "records_per_s": our_rate, "rival_records_per_s": their_rate, "ratio": ratio, "ours": ours, "theirs": theirs }))
}

/// Reads the complete directory once; counts what the rival counts.
fn read_ours(directory: &Path) -> Result<Value> {
    let started = Instant::now();
    let directory = PersistDirectory::open(directory)?;
    let (mut records, mut from_log, mut characters, mut keys, mut bits) = (0_u64, 0, 0, 0, 0_u64);
    for collection in directory.collections() {
        let report = directory.read(collection, |record| {
            characters += record.document.as_ref().map_or(0, |document| document.chars().count());
            keys += record.metadata.len();
            if let Vector::Present { embedding, .. } = &record.vector {
                let sum: u64 = embedding.as_slice().iter().map(|x| u64::from(x.to_bits())).sum();
                bits = bits.wrapping_add(sum);
            }
            ControlFlow::Continue(())
        })?;
        ensure!(report.missing == 0 && report.warnings.is_empty(), "{:?}", report.warnings);
        records += report.records;
        from_log += report.from_log;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(
        json!({ "records": records, "seconds": seconds, "from_log": from_log, "characters": characters, "keys": keys, "bits": bits,
        "rss_mb": peak_rss_mb() }),
    )
}
