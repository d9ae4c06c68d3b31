//! The commands of the released program that are measured.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bench::{Panopticon, run_measured};
use serde_json::{Value, json};

/// The table that we migrate into.
pub(super) const TABLE: &str = "migrated";

/// The program under test.
pub(super) struct Contestant<'p>(pub(super) &'p Panopticon);

impl Contestant<'_> {
    /// Migrates the collection into [`TABLE`] without verification; `seconds` is the time of scan and copy.
    pub(super) fn migrate(&self, source: &Path, collection: &str, url: &str, records: u64) -> Result<Value> {
        let report = self.run("migrate", source, collection, url, &["--no-verify"])?;
        let written = &report["collection"]["written"];
        ensure!(*written == records, "expected {records} rows written, found {written}");
        let seconds = |phase: &str| {
            let seconds = report["collection"]["phases"][phase].as_f64();
            seconds.with_context(|| format!("no time of phase `{phase}`"))
        };
        let (scan, copy) = (seconds("scan")?, seconds("copy")?);
        Ok(
            json!({ "seconds": scan + copy, "scan": scan, "copy": copy, "index": seconds("index").unwrap_or(0.0),
            "wall_s": report["wall_s"], "rss_mb": report["rss_mb"] }),
        )
    }

    /// Verifies the migrated rows against their source.
    pub(super) fn verify(&self, source: &Path, collection: &str, url: &str) -> Result<Value> {
        let report = self.run("verify", source, collection, url, &[])?;
        let verify =
            report["collection"]["phases"]["verify"].as_f64().context("no time of phase `verify`")?;
        Ok(json!({ "verify": verify, "wall_s": report["wall_s"], "rss_mb": report["rss_mb"] }))
    }

    /// Runs a command on one collection; returns its report of the collection, and time and memory of the process.
    fn run(&self, what: &str, source: &Path, collection: &str, url: &str, more: &[&str]) -> Result<Value> {
        let mut command = self.0.command();
        command.args([what, "collection", collection, "--table", TABLE, "--json"]).args(more);
        // In the environment, since other users can read arguments.
        command.arg("--from").arg(source).env("DATABASE_URL", url);
        let finished = run_measured(&mut command)?;
        ensure!(
            finished.code == Some(0),
            "panopticon {what} ended with {:?}: {}{}",
            finished.code,
            finished.stdout,
            finished.stderr
        );
        let report: Value = serde_json::from_str(&finished.stdout)
            .with_context(|| format!("no report in `{}`", finished.stdout))?;
        Ok(json!({ "collection": report["collections"][0], "wall_s": finished.seconds,
            "rss_mb": finished.peak_rss_mb }))
    }
}
