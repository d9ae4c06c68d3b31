//! embed/throughput, embed/latency, embed/load: speed of embedding, compared with three Python libraries.
//!
//! `cargo bench -p bench --bench embed` with the model in `PANOPTICON_MODEL_DIR` (sentence-transformers needs
//! its complete folder, `1_Pooling` included), and in `PANOPTICON_BENCH_PYTHON` (default `python3`) an interpreter
//! that has the packages of `rivals/requirements.txt`. Rounds alternate between ours and the rivals, so that other load
//! on the machine affects all alike. Every round compares the vectors. The report goes to `target/bench/embed.json`.

use std::env;
use std::fs;
use std::hint;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bench::{Kind, median, peak_rss_mb, texts};
use embed::{Kernel, Model};
use provision::DataDir;
use serde_json::{Value, json};

/// Texts of a round: half a minute for the slowest rival on two idle cores.
const TEXTS: usize = 400;
const ROUNDS: usize = 3;
/// Seed for selecting the texts.
const SEED: u64 = 7;
/// The rivals measure the same text.
const SHORT_TEXT: &str = "Explain how nuclear fusion works and why it is so hard.";
const SHORT_REPETITIONS: usize = 300;
/// Vectors of different engines agree to f32 rounding; more is another model.
const MAX_ONE_MINUS_COS: f64 = 1e-10;

/// Targets against each rival: (rival, texts/s at least this many times, p50 at most 1 in this).
const TARGETS: [(&str, Option<f64>, Option<f64>); 3] = [
    ("onnxruntime", Some(2.2), None),
    ("sentence-transformers", Some(4.0), Some(5.0)),
    ("chroma-default", Some(10.0), Some(15.0)),
];

/// A mix of texts: its name, and how many characters a text has at the most. The short ones have some 39 tokens, as
/// the set had on which the targets were set.
const MIXES: [(&str, usize); 2] = [("of any length", usize::MAX), ("of at most 320 characters", 320)];

fn main() -> Result<()> {
    let model_dir = match env::var_os("PANOPTICON_MODEL_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => provision::ensure_model(&DataDir::platform_default()?, &|line| eprintln!("{line}"))?,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&folder)?;
    let reports = MIXES
        .iter()
        .map(|(mix, longest)| Ok(((*mix).to_owned(), compare(&model_dir, &folder, mix, *longest)?)))
        .collect::<Result<serde_json::Map<_, _>>>()?;
    let path = folder.join("embed.json");
    fs::write(&path, format!("{:#}\n", Value::Object(reports)))?;
    println!("report: {}", path.canonicalize()?.display());
    Ok(())
}

/// All rounds over one mix.
fn compare(model_dir: &Path, folder: &Path, mix: &str, longest: usize) -> Result<Value> {
    let (texts, source) = texts(Kind::QueriesAndOutputs, TEXTS, longest, SEED)?;
    let lines: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
    fs::write(folder.join("embed_texts.jsonl"), lines.join("\n") + "\n")?;

    let mut ours = Vec::new();
    let mut rivals: Vec<(&str, Vec<Value>)> = TARGETS.iter().map(|(name, ..)| (*name, Vec::new())).collect();
    for round in 1..=ROUNDS {
        let (report, vectors) = run_ours(model_dir, &texts)?;
        eprintln!("round {round}: {report}");
        ours.push(report);
        for (name, reports) in &mut rivals {
            let out = folder.join(format!("embed_{name}.f32"));
            let Some(report) = run_rival(name, model_dir, folder, &out) else { continue };
            eprintln!("round {round}: {report}");
            if report.get("missing").is_none() {
                let deviation = one_minus_cos(&vectors, &out)?;
                ensure!(deviation <= MAX_ONE_MINUS_COS, "{name}: 1 - cos {deviation:e}");
            }
            reports.push(report);
        }
    }
    let kernel = Kernel::detect().to_string();
    let cores = thread::available_parallelism()?.get();
    println!(
        "\n{TEXTS} texts {mix} ({source}, {:.0} tokens each), {ROUNDS} interleaved rounds, {cores} threads, kernel {kernel}; medians",
        median(&ours, "tokens_per_s")
            .zip(median(&ours, "texts_per_s"))
            .map_or(f64::NAN, |(tokens, texts)| tokens / texts)
    );
    let summary = summarise(&ours, &rivals);
    let settings = json!({ "texts": TEXTS, "source": source, "seed": SEED, "rounds": ROUNDS, "threads": cores,
        "kernel": kernel, "short_text": SHORT_TEXT });
    let rivals: serde_json::Map<String, Value> =
        rivals.into_iter().map(|(name, reports)| (name.to_owned(), json!(reports))).collect();
    Ok(json!({ "settings": settings, "summary": summary, "ours": ours, "rivals": rivals }))
}

/// One round of ours: load, all texts, one short text alone, and the same text while all cores are busy.
fn run_ours(model_dir: &Path, texts: &[String]) -> Result<(Value, Vec<Vec<f32>>)> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let start = Instant::now();
    let model = Model::load(model_dir)?;
    let load_s = start.elapsed().as_secs_f64();
    model.embed(&[SHORT_TEXT])?;
    let start = Instant::now();
    let embeddings = model.embed(&texts)?;
    let seconds = start.elapsed().as_secs_f64();
    let (p50_ms, p99_ms) = latency(&model)?;
    let (busy_p50_ms, busy_p99_ms) = beside_busy_threads(|| latency(&model))?;
    let mut tokens = 0;
    for text in &texts {
        tokens += model.tokenize(text)?.ids.len();
    }
    let report = json!({
        "texts_per_s": texts.len() as f64 / seconds, "tokens_per_s": tokens as f64 / seconds,
        "p50_ms": p50_ms, "p99_ms": p99_ms, "busy_p50_ms": busy_p50_ms, "busy_p99_ms": busy_p99_ms,
        "load_s": load_s, "rss_mb": peak_rss_mb(),
    });
    Ok((report, embeddings.iter().map(|embedding| embedding.as_slice().to_vec()).collect()))
}

fn latency(model: &Model) -> Result<(f64, f64)> {
    let mut times_ms = Vec::with_capacity(SHORT_REPETITIONS);
    for _ in 0..SHORT_REPETITIONS {
        let start = Instant::now();
        let embedding = model.embed(&[SHORT_TEXT])?;
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
        hint::black_box(embedding);
    }
    times_ms.sort_unstable_by(f64::total_cmp);
    Ok((times_ms[SHORT_REPETITIONS / 2], times_ms[SHORT_REPETITIONS * 99 / 100]))
}

/// Runs `measure` while one busy thread per core runs.
fn beside_busy_threads<T>(measure: impl FnOnce() -> Result<T>) -> Result<T> {
    let over = AtomicBool::new(false);
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::black_box((0..1000_u64).fold(0, u64::wrapping_add));
                }
            });
        }
        let measured = measure();
        over.store(true, Ordering::Relaxed);
        measured
    })
}

/// One round of a rival; `None`, with a message, when it cannot be run.
fn run_rival(name: &str, model_dir: &Path, folder: &Path, vectors: &Path) -> Option<Value> {
    let python = env::var_os("PANOPTICON_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let option = match name {
        "onnxruntime" => "onnx",
        "chroma-default" => "chroma",
        other => other,
    };
    let output = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals/embed_rivals.py"))
        .args(["--rival", option, "--threads"])
        .arg(thread::available_parallelism().ok()?.to_string())
        .arg("--model")
        .arg(model_dir)
        .arg("--texts")
        .arg(folder.join("embed_texts.jsonl"))
        .arg("--vectors")
        .arg(vectors)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("{name}: cannot run {}: {error}", python.display());
            return None;
        }
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let report = stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
    if report.is_none() {
        eprintln!("{name}: no report; {}", String::from_utf8_lossy(&output.stderr));
    }
    report
}

/// The worst 1 − cos between our vectors and the little-endian f32 in `file`.
fn one_minus_cos(ours: &[Vec<f32>], file: &Path) -> Result<f64> {
    let bytes = fs::read(file).with_context(|| format!("failed to read vectors `{}`", file.display()))?;
    let (values, _) = bytes.as_chunks::<4>();
    let theirs: Vec<f64> = values.iter().map(|value| f64::from(f32::from_le_bytes(*value))).collect();
    ensure!(
        theirs.len() == ours.len() * 384,
        "expected {} vectors, found {}",
        ours.len(),
        theirs.len() / 384
    );
    let mut worst = 0.0_f64;
    for (ours, theirs) in ours.iter().zip(theirs.chunks_exact(384)) {
        let (mut dot, mut squares, mut their_squares) = (0.0, 0.0, 0.0);
        for (x, y) in ours.iter().zip(theirs) {
            let x = f64::from(*x);
            dot += x * y;
            squares += x * x;
            their_squares += y * y;
        }
        worst = worst.max(1.0 - dot / (squares * their_squares).sqrt());
    }
    Ok(worst)
}

/// Prints the table and returns the ratios.
fn summarise(ours: &[Value], rivals: &[(&str, Vec<Value>)]) -> Value {
    const FIELDS: [&str; 5] = ["texts_per_s", "p50_ms", "p99_ms", "load_s", "rss_mb"];
    let row = |name: &str, reports: &[Value]| {
        let cells: Vec<String> = FIELDS
            .iter()
            .map(|field| median(reports, field).map_or("-".to_owned(), |value| format!("{value:.2}")))
            .collect();
        let [texts, p50, p99, load, rss] = &cells[..] else { unreachable!("as many cells as fields") };
        println!("{name:<22} {texts:>12} {p50:>10} {p99:>10} {load:>8} {rss:>8}");
    };
    println!(
        "{:<22} {:>12} {:>10} {:>10} {:>8} {:>8}",
        "", "texts/s", "p50 ms", "p99 ms", "load s", "rss MB"
    );
    row("panopticon", ours);
    let mut summary = serde_json::Map::new();
    for ((name, reports), (_, faster, sooner)) in rivals.iter().zip(TARGETS) {
        if let Some(missing) = reports.iter().find_map(|report| report["missing"].as_str()) {
            println!("{name:<22} missing: {missing}");
            continue;
        }
        row(name, reports);
        let ratio = |field: &str| Some(median(ours, field)? / median(reports, field)?);
        let (throughput, latency) = (ratio("texts_per_s"), ratio("p50_ms").map(|ratio| 1.0 / ratio));
        let verdict = |found: Option<f64>, target: Option<f64>| match (found, target) {
            (Some(found), Some(target)) if found < target => format!("{found:.1}x (target {target}x MISSED)"),
            (Some(found), Some(target)) => format!("{found:.1}x (target {target}x)"),
            (Some(found), None) => format!("{found:.1}x"),
            (None, _) => "not measured".to_owned(),
        };
        println!(
            "{:<22} ours: {} texts/s, {} sooner",
            "",
            verdict(throughput, faster),
            verdict(latency, sooner)
        );
        summary.insert((*name).to_owned(), json!({ "throughput_ratio": throughput, "p50_ratio": latency }));
    }
    let busy = (median(ours, "busy_p50_ms"), median(ours, "busy_p99_ms"));
    println!(
        "panopticon with all cores busy: p50 {:.2} ms, p99 {:.2} ms",
        busy.0.unwrap_or(f64::NAN),
        busy.1.unwrap_or(f64::NAN)
    );
    summary.insert("busy".to_owned(), json!({ "p50_ms": busy.0, "p99_ms": busy.1 }));
    Value::Object(summary)
}
