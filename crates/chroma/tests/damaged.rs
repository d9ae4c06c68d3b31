//! Directories with bytes changed or cut end in records, warnings or errors, and never in a panic.

use std::{fs, ops::ControlFlow, path::Path};

use chroma::{Error, PersistDirectory};

use crate::fixtures::{contents, unpack};

/// Reads all that can be read.
fn read_all(path: &Path) -> Result<u64, Error> {
    let directory = PersistDirectory::open(path)?;
    let mut records = 0;
    for collection in directory.collections() {
        // Either may fail on its own: they read different pages.
        let count = directory.record_count(collection);
        let report = directory.read(collection, |_| ControlFlow::Continue(()));
        if let (Ok(count), Ok(report)) = (&count, &report) {
            records += count.max(&report.records);
        }
    }
    Ok(records)
}

/// Marsaglia's xorshift64, so that a failure can be run again.
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
fn changed_bytes_end_without_panic() {
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
                // Half of the changes hit the first page, where the structure is densest.
                let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(4096) };
                let at = random.below(reach);
                bytes[at] = random.below(256) as u8;
            }
            fs::write(path, &bytes).unwrap();
            read += u64::from(read_all(&live).is_ok());
            fs::write(path, whole).unwrap();
            assert_eq!(fs::read(path).unwrap(), *whole, "{archive} round {round}");
        }
        assert!(read > 0, "nothing was readable, so nothing was tested");
        assert_eq!(read_all(&live).unwrap(), 39);
    }
}

#[test]
fn cut_database_ends_without_panic() {
    let Some(fixture) = unpack("0.6.3") else { return };
    let live = fixture.path().join("live");
    let database = live.join("chroma.sqlite3");
    let whole = fs::read(&database).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        fs::write(&database, &whole[..length]).unwrap();
        let _ = read_all(&live);
    }
}
