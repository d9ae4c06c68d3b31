//! Reading directories with changed or truncated files results in records, warnings or errors, never in a panic.

use std::{fs, ops::ControlFlow, path::Path};

use chroma::{Error, PersistDirectory};
use parquet::basic::Compression;
use tempfile::TempDir;

use crate::{
    fixtures::{contents, unpack, write_old},
    parquet_files::{Row, as_duckdb, text, write_collections, write_embeddings},
};

/// Reads everything that is readable.
fn read_all(path: &Path) -> Result<u64, Error> {
    let directory = PersistDirectory::open(path)?;
    let mut records = 0;
    for collection in directory.collections() {
        // Each may fail without the other, because they read different pages.
        let count = directory.record_count(collection);
        let report = directory.read(collection, |_| ControlFlow::Continue(()));
        if let (Ok(count), Ok(report)) = (&count, &report) {
            records += count.max(&report.records);
        }
    }
    Ok(records)
}

/// Marsaglia's xorshift64, so that a failure is reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn changed_bytes_cause_no_panic() {
    for archive in ["0.5.23", "1.5.9"] {
        let Some(fixture) = unpack(archive) else { return };
        let live = fixture.path().join("live");
        let files: Vec<_> = contents(&live).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut read = 0;
        for round in 0..150 {
            let (path, whole) = &files[random.below(files.len())];
            let mut bytes = whole.clone();
            for _ in 0..=random.below(8) {
                // Half of the changes are in the first page, which contains the most structure.
                let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(4096) };
                let at = random.below(reach);
                bytes[at] = random.below(256) as u8;
            }
            write_old(path, &bytes);
            read += u64::from(read_all(&live).is_ok());
            write_old(path, whole);
            assert_eq!(fs::read(path).unwrap(), *whole, "{archive} round {round}");
        }
        assert!(read > 0, "nothing was readable, so nothing was tested");
        assert_eq!(read_all(&live).unwrap(), 39);
    }
}

#[test]
fn truncated_database_causes_no_panic() {
    let Some(fixture) = unpack("0.6.3") else { return };
    let live = fixture.path().join("live");
    let database = live.join("chroma.sqlite3");
    let whole = fs::read(&database).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        write_old(&database, &whole[..length]);
        let _ = read_all(&live);
    }
}

/// Two collections as Chroma 0.3 writes them, but uncompressed, so that changes reach the decoder.
fn uncompressed_parquet() -> TempDir {
    let directory = TempDir::new().unwrap();
    let ids = ["aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"];
    write_collections(directory.path(), &ids.map(|id| [text(id), text("name"), text("null")]));
    let rows: Vec<Row> = (0..100)
        .map(|row| Row {
            document: (row % 3 > 0).then(|| format!("document {}", row % 10).as_str().into()),
            metadata: text(r#"{"key": 1}"#),
            ..Row::new(ids[row % 2], &format!("id {row}"), &[0.5, row as f64, 0.25])
        })
        .collect();
    let properties = as_duckdb().set_compression(Compression::UNCOMPRESSED).set_data_page_size_limit(500);
    write_embeddings(directory.path(), rows.chunks(60), properties);
    directory
}

/// Changes bytes of the parquet files of `path` and reads them; returns how often they were readable.
fn change_parquet(path: &Path, rounds: u32) -> u32 {
    let files: Vec<_> = contents(path)
        .into_iter()
        .filter(|(file, _)| file.extension().is_some_and(|e| e == "parquet"))
        .collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut readable = 0;
    for _ in 0..rounds {
        let (file, whole) = &files[random.below(files.len())];
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            // Half of the changes are in the footer, which is at the end.
            let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(1500) };
            let at = bytes.len() - 1 - random.below(reach);
            bytes[at] = random.below(256) as u8;
        }
        fs::write(file, &bytes).unwrap();
        readable += u32::from(read_all(path).is_ok());
        fs::write(file, whole).unwrap();
    }
    readable
}

#[test]
fn changed_parquet_causes_no_panic() {
    let uncompressed = uncompressed_parquet();
    assert!(change_parquet(uncompressed.path(), 1500) > 0);
    assert_eq!(read_all(uncompressed.path()).unwrap(), 100);
    let Some(fixture) = unpack("0.3.29") else { return };
    let live = fixture.path().join("live");
    assert!(change_parquet(&live, 500) > 0);
    assert_eq!(read_all(&live).unwrap(), 39);
}

#[test]
fn truncated_parquet_is_an_error() {
    let directory = uncompressed_parquet();
    let file = directory.path().join("chroma-embeddings.parquet");
    let whole = fs::read(&file).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 200) {
        // At either end.
        for part in [&whole[..length], &whole[whole.len() - length..]] {
            fs::write(&file, part).unwrap();
            assert!(matches!(read_all(directory.path()), Err(Error::Parquet { .. })), "{length}");
        }
    }
}
