//! Shared code of the benchmarks. They are in `benches/`, the rivals in Python in `rivals/`.

pub mod load;
mod panopticon;
mod process;
mod psql;
mod service;
mod texts;

pub use panopticon::{Panopticon, chroma_program};
pub use process::{Finished, cpu_seconds, run_measured, run_rival, shared_memory_mb};
pub use psql::psql;
pub use service::{Endpoint, Service};
pub use texts::{Kind, texts};

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The median of a numeric field of several reports; `None` if none has it.
pub fn median(reports: &[Value], field: &str) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(|report| report[field].as_f64()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Peak resident memory of this process, in MiB.
pub fn peak_rss_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}

/// The folder of reports and of data that benchmarks cache between runs.
///
/// # Errors
/// When it cannot be made.
pub fn folder() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    Ok(folder.canonicalize()?)
}

/// Writes the report `name`.json, and prints its path.
///
/// # Errors
/// When it cannot be written.
pub fn write_report(name: &str, report: &Value) -> Result<()> {
    let path = folder()?.join(format!("{name}.json"));
    fs::write(&path, format!("{report:#}\n"))
        .with_context(|| format!("failed to write `{}`", path.display()))?;
    println!("report: {}", path.display());
    Ok(())
}

/// A directory with the collection `bench` of `records` records, which `write` makes unless an earlier run has made it.
///
/// # Errors
/// When it cannot be made.
pub fn directory(name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let directory = folder()?.join("read").join(name);
    if !directory.exists() {
        let unfinished = directory.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        eprintln!("writing {}", directory.display());
        write(&unfinished)?;
        fs::rename(&unfinished, &directory)?;
    }
    Ok(directory)
}

/// A directory that Chroma itself has written.
///
/// # Errors
/// When Chroma fails to write it.
pub fn directory_by_chroma(space: &str, records: u64) -> Result<PathBuf> {
    directory(&format!("{space}-{records}"), |folder| {
        let arguments = ["make", utf8(folder)?, "--space", space, "--records", &records.to_string()];
        run_rival("read_rival.py", &arguments, &[]).map(drop)
    })
}

/// A copy of a directory for a rival: opening one may change it.
///
/// # Errors
/// When it cannot be copied.
pub fn copy_for_rival(directory: &Path) -> Result<PathBuf> {
    let copy = directory.with_extension("rival");
    if !copy.exists() {
        let status = Command::new("cp").arg("-a").args([directory, &copy]).status()?;
        ensure!(status.success(), "failed to copy `{}`", directory.display());
    }
    Ok(copy)
}

/// A path as an argument.
///
/// # Errors
/// When it is not UTF-8.
pub fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("the path of the workspace is not UTF-8")
}
