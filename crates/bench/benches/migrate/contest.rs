//! One size: the contestants, each from the same records into an empty table of the same definition.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bench::{copy_for_rival, directory, directory_by_chroma, run_rival, utf8};
use provision::Server;
use records::DistanceSpace;
use serde_json::{Value, json};
use test_support::{ChromaCollection, ChromaForm, ChromaWriter, generated_records};

use crate::{
    LARGEST_BY_CHROMA,
    database::{CONTEST, Database},
    ours::{Contestant, TABLE},
};

/// Rows of the sample that `old` is measured on.
const SAMPLE: u64 = 100;

const COLLECTION: &str = "bench";
const SEED: u64 = 7;

pub(super) struct Contest<'c> {
    server: &'c Server,
    panopticon: Contestant<'c>,
    records: u64,
    source: PathBuf,
    rival_source: PathBuf,
    /// The database of all contestants but ours.
    others: Database<'c>,
    /// The rows as the server's own binary COPY.
    file: PathBuf,
    /// The digest of the rows.
    wanted: String,
}

impl<'c> Contest<'c> {
    /// Makes the directory, and migrates it once: this yields the table's definition and the file for COPY, and warms
    /// the caches.
    pub(super) fn prepare(server: &'c Server, panopticon: Contestant<'c>, records: u64) -> Result<Self> {
        let source = if records <= LARGEST_BY_CHROMA {
            directory_by_chroma("l2", records)?
        } else {
            directory(&format!("generated-l2-{records}"), |folder| {
                write_generated(folder, records);
                Ok(())
            })?
        };
        let rival_source = copy_for_rival(&source)?;
        let ours = Database::create(server, "ours")?;
        panopticon.migrate(&source, COLLECTION, &ours.url(), records)?;
        let file = ours.export()?;
        let others = Database::create_like(server, "others", &ours)?;
        let wanted = ours.digest(TABLE)?;
        Ok(Self { server, panopticon, records, source, rival_source, others, file, wanted })
    }

    /// (a): the server copies its own file.
    pub(super) fn raw(&self) -> Result<Value> {
        self.others.make_contest_table()?;
        let seconds = self.others.copy_from(&self.file)?;
        self.compare(&self.others, CONTEST)?;
        self.others.drop_contest_table()?;
        Ok(json!({ "seconds": seconds }))
    }

    /// (b): ours, then the comparison.
    pub(super) fn ours(&self) -> Result<Value> {
        let database = Database::create(self.server, "ours")?;
        let mut report = self.panopticon.migrate(&self.source, COLLECTION, &database.url(), self.records)?;
        self.compare(&database, TABLE)?;
        database.checkpoint()?;
        let verified = self.panopticon.verify(&self.source, COLLECTION, &database.url())?;
        for (field, of) in [("verify_s", "verify"), ("verify_wall_s", "wall_s"), ("verify_rss_mb", "rss_mb")]
        {
            report[field] = verified[of].clone();
        }
        Ok(report)
    }

    /// (c): Chroma's pages and psycopg's COPY.
    pub(super) fn rival(&self, page: u64) -> Result<Value> {
        self.others.make_contest_table()?;
        let report = self.run_python("copy", &["--page", &page.to_string()])?;
        self.compare(&self.others, CONTEST)?;
        self.others.drop_contest_table()?;
        Ok(report)
    }

    /// (d): a sample, text by text. Its vectors are embedded again, and are not compared.
    pub(super) fn old(&self, model: &Path) -> Result<Value> {
        self.others.make_contest_table()?;
        let report = self.run_python("embed", &["--rows", &SAMPLE.to_string(), "--model", utf8(model)?])?;
        self.others.drop_contest_table()?;
        Ok(report)
    }

    /// Frees the disk space.
    pub(super) fn finish(self) -> Result<()> {
        std::fs::remove_file(&self.file)
            .with_context(|| format!("failed to remove `{}`", self.file.display()))?;
        self.others.drop()?;
        Database::create(self.server, "ours")?.drop()
    }

    fn run_python(&self, what: &str, options: &[&str]) -> Result<Value> {
        let arguments = [&[what, utf8(&self.rival_source)?, CONTEST], options].concat();
        let line = run_rival("migrate_rival.py", &arguments, &[("DATABASE_URL", &self.others.url())])?;
        serde_json::from_str(&line).with_context(|| format!("no report in `{line}`"))
    }

    fn compare(&self, database: &Database<'_>, table: &str) -> Result<()> {
        let (found, wanted) = (database.digest(table)?, &self.wanted);
        ensure!(found == *wanted, "rows differ from those of our first migration: {found}, there {wanted}");
        Ok(())
    }
}

/// As many metadata keys as `read_rival.py` writes: the timestamp is one too many.
fn write_generated(folder: &Path, records: u64) {
    let mut writer = ChromaWriter::create(folder);
    let collection = ChromaCollection::new(COLLECTION, DistanceSpace::L2, ChromaForm::Flushed);
    let records = generated_records(records, SEED).map(|mut record| {
        record.metadata.remove("timestamp");
        record
    });
    writer.write(&collection, records);
    writer.finish();
}
