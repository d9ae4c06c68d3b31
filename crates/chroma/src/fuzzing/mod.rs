//! The functions of the fuzz targets in `fuzz/`: each takes any bytes, passes them to a reader and checks the result.
//! Compiled only for fuzzing and for tests.
//!
//! `cargo test` runs the same functions on the committed corpus.

mod directory;
mod hnsw_files;
mod json;
mod log_model;
mod log_rows;
mod parquet;
mod pickle;
#[cfg(test)]
mod replay;
mod source;
mod tables;

pub use directory::directory;
pub use hnsw_files::hnsw_files;
pub use json::json;
pub use log_rows::log_rows;
pub use parquet::parquet;
pub use pickle::pickle;

use std::{fs, ops::ControlFlow, path::Path};

use tempfile::TempDir;

use crate::{Collection, Error, PersistDirectory, ReadReport, Record, Vector};

thread_local! {
    /// The folder for a target's files: creating one for each input would take longer than reading it.
    static FOLDER: TempDir = TempDir::new().expect("the temporary folder is writable");
}

/// One collection that was read.
struct Found {
    collection: Collection,
    count: u64,
    records: Vec<Record>,
    report: ReadReport,
}

/// Reads a complete directory and checks the invariants of every directory.
fn read_all(path: &Path) -> Result<Vec<Found>, Error> {
    let directory = PersistDirectory::open(path)?;
    // May fail, but must not panic.
    let _ = directory.overview();
    let mut found = Vec::new();
    for collection in directory.collections() {
        let count = directory.record_count(collection);
        let mut records = Vec::new();
        let report = directory.read(collection, |record| {
            records.push(record);
            ControlFlow::Continue(())
        });
        let (Ok(count), Ok(report)) = (count, report) else { continue };
        let is_missing = |record: &&Record| matches!(record.vector, Vector::Missing { .. });
        assert!(report.complete);
        assert_eq!(report.records, records.len() as u64);
        assert_eq!(report.missing, records.iter().filter(is_missing).count() as u64);
        assert_eq!(report.records, report.from_log + report.from_hnsw + report.salvaged + report.missing);
        found.push(Found { collection: collection.clone(), count, records, report });
    }
    Ok(found)
}

/// Runs a closure in this thread's folder, which is empty.
fn in_folder(run: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let remove = || {
            for entry in fs::read_dir(folder.path())? {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
            }
            std::io::Result::Ok(())
        };
        remove().expect("the folder is ours");
        run(folder.path());
    });
}
