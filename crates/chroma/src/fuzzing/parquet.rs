//! The files of Chroma 0.3.

use std::fs;

use super::{in_folder, read_all};

const FILES: [&str; 2] = ["chroma-embeddings.parquet", "chroma-collections.parquet"];

/// The first byte selects the file that the other bytes become. The other file is missing, so that collections are
/// derived from their records.
pub fn parquet(bytes: &[u8]) {
    let Some((which, file)) = bytes.split_first() else { return };
    in_folder(|folder| {
        fs::write(folder.join(FILES[usize::from(which % 2)]), file).expect("the folder is ours");
        let Ok(found) = read_all(folder) else { return };
        for found in found {
            assert_eq!(found.count, found.report.records);
            // A row takes at least one byte.
            assert!(found.records.len() <= file.len());
        }
    });
}
