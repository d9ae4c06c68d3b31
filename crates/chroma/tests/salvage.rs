//! An index that has lost its list of ids is salvaged only where the match is certain.

use std::{fs, path::PathBuf};

use chroma::{MissingReason, Origin, PersistDirectory, ReadReport, Record, Vector};
use expect_test::{Expect, expect};
use tempfile::TempDir;

use crate::{
    fixtures::{expectations, unpack, write_old},
    golden::{read, ulps},
};

/// The `thresh` scenario: 1330 records of which about 1000 were flushed, then five were deleted or changed.
fn thresh(version: &str) -> Option<(TempDir, PathBuf, PathBuf)> {
    let fixture = unpack(&format!("{version}-thresh"))?;
    let directory = fixture.path().join("thresh");
    let has_pickle = |path: &PathBuf| path.join("index_metadata.pickle").exists();
    let segment =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).find(has_pickle).unwrap();
    Some((fixture, directory, segment))
}

fn read_thresh(directory: &std::path::Path) -> (Vec<Record>, ReadReport) {
    let directory = PersistDirectory::open(directory).unwrap();
    let collection =
        directory.collections().iter().find(|collection| collection.name == "thresh_cos").unwrap();
    read(&directory, collection)
}

fn check(directory: &std::path::Path, expected: Expect) {
    let (records, report) = read_thresh(directory);
    let ReadReport { from_log, from_hnsw, salvaged, missing, warnings, .. } = report;
    // The segment's id differs between archives.
    let warning = |warning: &chroma::Warning| {
        let message = warning.message.split('`').enumerate();
        let words: Vec<_> =
            message.map(|(n, part)| if n == 1 && part.len() == 36 { "…" } else { part }).collect();
        format!("\n{}: {}", warning.code, words.join("`"))
    };
    let warnings: String = warnings.iter().map(warning).collect();
    expected.assert_eq(&format!(
        "{from_log} log, {from_hnsw} hnsw, {salvaged} salvaged, {missing} missing{warnings}"
    ));
    let written = expectations(directory.with_extension("model.jsonl")).unwrap();
    let written = written.values().find(|records| records.len() > 1000).unwrap();
    for record in records {
        match record.vector {
            Vector::Present { embedding, origin: Origin::Salvaged } => {
                let written = written[&record.id].embedding.as_deref().unwrap();
                let is_close = embedding.as_slice().iter().zip(written).all(|(a, b)| ulps(*a, *b) <= 2);
                assert!(is_close, "{}: {embedding:?}, written {written:?}", record.id);
            }
            Vector::Present { .. } => {}
            Vector::Missing { reason } => assert_eq!(reason, MissingReason::IndexLost),
        }
    }
}

#[test]
fn index_of_1_x_is_salvaged_completely_despite_later_deletions() {
    for version in ["1.0.20", "1.5.9"] {
        let Some((_fixture, directory, segment)) = thresh(version) else { return };
        fs::remove_file(segment.join("index_metadata.pickle")).unwrap();
        check(
            &directory,
            expect![[r#"
            281 log, 0 hnsw, 1046 salvaged, 0 missing
            index_salvaged: the index `…` is lost: expected `index_metadata.pickle`, found none; 1048 vectors were matched to their ids by insertion order"#]],
        );
    }
}

#[test]
fn index_of_0_x_is_not_salvaged() {
    let Some((_fixture, directory, segment)) = thresh("0.6.3") else { return };
    fs::remove_file(segment.join("index_metadata.pickle")).unwrap();
    check(
        &directory,
        expect![[r#"
        330 log, 0 hnsw, 0 salvaged, 997 missing
        index_lost: the index `…` is lost: expected `index_metadata.pickle`, found none; only vectors in the log are available, because salvage failed: it was written by Chroma < 1.0, which does not label vectors in insertion order
        vector_missing: 997 records have no vector: `id2`, `id3`, `id4`, …"#]],
    );
}

#[test]
fn torn_list_of_0_x_is_salvaged_as_far_as_it_is_readable() {
    let Some((_fixture, directory, segment)) = thresh("0.6.3") else { return };
    let pickle = segment.join("index_metadata.pickle");
    let whole = fs::read(&pickle).unwrap();
    write_old(&pickle, &whole[..whole.len() / 4]);
    check(
        &directory,
        expect![[r#"
        330 log, 0 hnsw, 582 salvaged, 415 missing
        index_salvaged: the index `…` is lost: failed to decode `index_metadata.pickle`: failed to unpickle: expected more bytes, found the end at byte 6210 of the pickle; 584 vectors were found by the readable part of the list of ids
        vector_missing: 415 records have no vector: `id501`, `id502`, `id505`, …"#]],
    );
}

#[test]
fn torn_list_of_1_x_is_completed_by_insertion_order() {
    let Some((_fixture, directory, segment)) = thresh("1.5.9") else { return };
    let pickle = segment.join("index_metadata.pickle");
    let whole = fs::read(&pickle).unwrap();
    for length in [1, whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        write_old(&pickle, &whole[..length]);
        let (_, report) = read_thresh(&directory);
        assert_eq!((report.salvaged, report.missing), (1046, 0), "{length}");
    }
}

#[test]
fn ambiguous_index_is_not_salvaged() {
    let Some((_fixture, directory, segment)) = thresh("1.5.9") else { return };
    fs::remove_file(segment.join("index_metadata.pickle")).unwrap();
    // Two flushed records were deleted later, and only the log's last flushed row shows which.
    let connection = rusqlite::Connection::open(directory.join("chroma.sqlite3")).unwrap();
    connection.execute("delete from embeddings_queue where seq_id = 1050", []).unwrap();
    drop(connection);
    check(
        &directory,
        expect![[r#"
        280 log, 0 hnsw, 0 salvaged, 1047 missing
        index_lost: the index `…` is lost: expected `index_metadata.pickle`, found none; only vectors in the log are available, because salvage failed: records were deleted after the flush, and no vector in the log shows which
        vector_missing: 1047 records have no vector: `id2`, `id3`, `id4`, …"#]],
    );
    let level0 = segment.join("data_level0.bin");
    let elements = fs::read(&level0).unwrap();
    write_old(&level0, &elements[..elements.len() / 20]);
    check(
        &directory,
        expect![[r#"
        280 log, 0 hnsw, 0 salvaged, 1047 missing
        index_lost: the index `…` is lost: expected `index_metadata.pickle`, found none; only vectors in the log are available, because salvage failed: its vectors cannot be read: expected 1050 elements in `data_level0.bin`, found 52
        vector_missing: 1047 records have no vector: `id2`, `id3`, `id4`, …"#]],
    );
}
