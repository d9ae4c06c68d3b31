//! Directories of Chroma 0.3, as Chroma wrote them and with deviations.

use std::{fs, ops::ControlFlow, os::unix::fs::symlink};

use chroma::{Error, Field, MissingReason, ParquetFault, PersistDirectory, ProblemKind, Record, Vector};
use expect_test::{Expect, expect};
use records::{DistanceSpace, Metadata, MetadataValue};
use tempfile::TempDir;

use crate::{
    golden::read,
    parquet_files::{Row, as_duckdb, text, write_collections, write_embeddings},
};

pub(crate) const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
pub(crate) const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
pub(crate) const C: &str = "cccccccc-0000-4000-8000-000000000003";

/// All warnings of a directory, its collections and their records.
pub(crate) fn warnings(directory: &PersistDirectory) -> String {
    let mut warnings: Vec<_> = directory.warnings().to_vec();
    for collection in directory.collections() {
        warnings.extend(collection.warnings.iter().cloned());
        warnings.extend(read(directory, collection).1.warnings);
    }
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A directory with one collection of these rows.
fn directory(rows: &[Row]) -> (TempDir, PersistDirectory) {
    let temporary = TempDir::new().unwrap();
    write_collections(temporary.path(), &[[text(A), text("a"), text("null")]]);
    write_embeddings(temporary.path(), [rows], as_duckdb());
    let directory = PersistDirectory::open(temporary.path()).unwrap();
    (temporary, directory)
}

#[test]
fn vectors_out_of_single_precision_are_reported() {
    let null = |id| Row { embedding: None, ..Row::new(A, id, &[]) };
    let holed = Row { embedding: Some(vec![Some(1.0), None]), ..Row::new(A, "holed", &[]) };
    let rows = [
        Row::new(A, "exact", &[0.5, f64::NAN]),
        null("null"),
        Row::new(A, "empty", &[]),
        holed,
        Row::new(A, "huge", &[1.0, 1e300]),
        Row::new(A, "infinite", &[1.0, f64::INFINITY]),
        Row::new(A, "rounded", &[0.1, 1e-300]),
        Row::new(A, "short", &[1.0]),
        null("last"),
    ];
    let (_temporary, directory) = directory(&rows);
    let [collection] = directory.collections() else { panic!("{directory:?}") };
    assert_eq!(collection.dimension, Some(2));
    let (records, report) = read(&directory, collection);
    let vectors: Vec<_> = records
        .iter()
        .map(|record| match &record.vector {
            Vector::Present { embedding, .. } => format!("{} {:?}", record.id, embedding.as_slice()),
            Vector::Missing { reason } => format!("{} {reason:?}", record.id),
        })
        .collect();
    expect![[r#"
        exact [0.5, NaN]
        null NotStored
        empty NotStored
        holed Undecodable
        huge Undecodable
        infinite [1.0, inf]
        rounded [0.1, 0.0]
        short [1.0]
        last NotStored"#]]
    .assert_eq(&vectors.join("\n"));
    assert_eq!((report.records, report.from_log, report.missing), (9, 4, 5));
    expect![[r#"
        vector_rounded: 1 vectors were rounded to single precision, for ids: `rounded`
        vector_undecodable: 1 vectors have components out of the range of single precision, for ids: `huge`
        vector_undecodable: 1 vectors have null components, for ids: `holed`
        dimension_mismatch: 1 vectors do not have the collection's dimension, for ids: `short`
        vector_missing: 5 records have no vector: `null`, `empty`, `holed`, …"#]]
    .assert_eq(&warnings(&directory));
}

#[test]
fn values_that_cannot_be_represented_are_problems_with_their_bytes() {
    let rows = [
        Row { id: Some(b"i\xffd".to_vec().into()), ..Row::new(A, "", &[1.0]) },
        Row { id: None, ..Row::new(A, "", &[1.0]) },
        Row { document: Some(b"\xc3".to_vec().into()), ..Row::new(A, "document", &[1.0]) },
        Row { metadata: text("{'a': 1}"), ..Row::new(A, "python", &[1.0]) },
        Row { metadata: text(r#"{"o": {}, "n": null, "k": "v"}"#), ..Row::new(A, "nested", &[1.0]) },
        Row { metadata: text(r#"{"s": "\ud800"}"#), ..Row::new(A, "surrogate", &[1.0]) },
        Row { metadata: text(""), document: text(""), ..Row::new(A, "fine", &[1.0]) },
        Row::new(A, "fine", &[2.0]),
    ];
    let (_temporary, directory) = directory(&rows);
    let (records, _) = read(&directory, &directory.collections()[0]);
    let problems = |record: &Record| {
        let problem = |p: &chroma::Problem| (p.field.clone(), p.kind, p.original.to_vec());
        record.problems.iter().map(problem).collect::<Vec<_>>()
    };
    let expected = [
        vec![(Field::Id, ProblemKind::NotUnicode, b"i\xffd".to_vec())],
        vec![(Field::Id, ProblemKind::NotRepresentable, Vec::new())],
        vec![(Field::Document, ProblemKind::NotUnicode, b"\xc3".to_vec())],
        vec![(Field::AllMetadata, ProblemKind::NotJson, b"{'a': 1}".to_vec())],
        vec![(
            Field::Metadata("o".to_owned()),
            ProblemKind::NotRepresentable,
            br#"{"o": {}, "n": null, "k": "v"}"#.to_vec(),
        )],
        vec![(Field::Metadata("s".to_owned()), ProblemKind::NotUnicode, b"\xed\xa0\x80".to_vec())],
        vec![],
        vec![],
    ];
    assert_eq!(records.iter().map(problems).collect::<Vec<_>>(), expected);
    assert_eq!(records[4].metadata, Metadata::from([("k".to_owned(), MetadataValue::Text("v".to_owned()))]));
    assert_eq!(records[6].document.as_deref(), Some(""));
    expect![[r#"
        duplicate_ids: 1 records have the same id as an earlier record: `fine`
        metadata_value_lost: 1 records have metadata keys with the value null, which cannot be represented: `nested`
        record_problem: 6 records have values that their fields cannot represent: `i�d`, ``, `document`, …"#]].assert_eq(&warnings(&directory));
}

#[test]
fn inconsistent_collections_and_records_are_reported() {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path();
    write_collections(
        path,
        &[
            [text(B), text("spaced"), text(r#"{"hnsw:space": "cosine", "owner": "x", "ratio": NaN}"#)],
            [text(A), text("odd"), text(r#"{"hnsw:space": "manhattan", "o": {}}"#)],
            [text(B), text("again"), None],
            [text("not a uuid"), text("nameless"), None],
            [text(C), Some(b"\xff".to_vec().into()), text("{")],
        ],
    );
    let rows = [Row::new("not a uuid", "1", &[1.0]), Row::new(B, "2", &[1.0, 2.0]), Row::default()];
    write_embeddings(path, [&rows[..]], as_duckdb());
    let directory = PersistDirectory::open(path).unwrap();
    let listed: Vec<_> = directory
        .collections()
        .iter()
        .map(|c| (c.name.as_str(), c.space, c.dimension, directory.record_count(c).unwrap()))
        .collect();
    let expected = [
        ("odd", DistanceSpace::L2, None, 0),
        ("spaced", DistanceSpace::Cosine, Some(2), 1),
        ("\u{fffd}", DistanceSpace::L2, None, 0),
    ];
    assert_eq!(listed, expected);
    assert_eq!(directory.collections()[1].metadata["owner"], MetadataValue::Text("x".to_owned()));
    expect![[r#"
        collection_unreadable: expected a unique UUID as the id of collection `again`, found `bbbbbbbb-0000-4000-8000-000000000002`; skipping the collection
        collection_unreadable: expected a unique UUID as the id of collection `nameless`, found `not a uuid`; skipping the collection
        orphan_records: 2 records are not read, because `chroma-collections.parquet` does not list their collection: no collection id (1: ``), `not a uuid` (1: `1`)
        configuration_unreadable: the collection's metadata has a value that cannot be represented (Metadata("o"), NotRepresentable): `{\"hnsw:space\": \"manhattan\", \"o\": {}}`
        space_unknown: expected `hnsw:space` in the collection's metadata to be l2, cosine or ip, found `manhattan`; ignoring it
        name_not_utf8: the name of the collection is not UTF-8, shown as `�`
        configuration_unreadable: the collection's metadata has a value that cannot be represented (AllMetadata, NotJson): `{`"#]].assert_eq(&warnings(&directory));

    // Without the list, records whose owner is the id of a collection are read, and the others are reported.
    fs::remove_file(path.join("chroma-collections.parquet")).unwrap();
    let directory = PersistDirectory::open(path).unwrap();
    let [from_records] = directory.collections() else { panic!("{directory:?}") };
    assert_eq!(from_records.name, "bbbbbbbb-0000-4000-8000-000000000002");
    expect![
        "collections_lost: its entry is lost; using its id as its name, and its distance space is unknown"
    ]
    .assert_eq(&from_records.warnings[0].to_string());
    assert_eq!(crate::golden::read(&directory, from_records).1.records, 1);
    fs::write(path.join("chroma-collections.parquet"), b"PAR1, but no more of it").unwrap();
    let damaged = PersistDirectory::open(path).unwrap();
    assert_eq!(damaged.collections().len(), 1);
    assert!(damaged.warnings().iter().any(|warning| warning.code == chroma::WarningCode::CollectionsLost));
    expect![[r#"
        orphan_records: 2 records are not read, because `chroma-collections.parquet` does not list their collection: no collection id (1: ``), `not a uuid` (1: `1`)
        collections_lost: its entry is lost; using its id as its name, and its distance space is unknown"#]].assert_eq(&warnings(&directory));

    // Without records the collections are empty.
    fs::remove_file(path.join("chroma-embeddings.parquet")).unwrap();
    write_collections(path, &[[text(A), text("a"), None]]);
    let directory = PersistDirectory::open(path).unwrap();
    assert_eq!(read(&directory, &directory.collections()[0]).1.records, 0);
    expect!["embeddings_absent: `chroma-embeddings.parquet` is missing, so all collections are empty"]
        .assert_eq(&warnings(&directory));
}

#[test]
fn writer_during_a_read_is_detected() {
    let rows: Vec<Row> = (0..200).map(|id| Row::new(A, &id.to_string(), &[1.0])).collect();
    let (temporary, directory) = directory(&rows);
    let file = temporary.path().join("chroma-embeddings.parquet");
    let bytes = fs::read(&file).unwrap();
    let rewrite = |_| {
        fs::write(&file, [&bytes[..], b"PAR1"].concat()).unwrap();
        ControlFlow::Continue(())
    };
    let report = directory.read(&directory.collections()[0], rewrite).unwrap();
    assert_eq!(report.records, 200);
    expect![
        "parquet_changed: the file of the records changed during the read; stop the writer and read again"
    ]
    .assert_eq(&report.warnings[0].to_string());
    fs::write(&file, b"").unwrap();
    let error = directory.read(&directory.collections()[0], |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, Error::Parquet { source: ParquetFault::Changed, .. }), "{error:?}");
}

#[test]
fn links_and_invalid_files_are_rejected() {
    let check = |prepare: &dyn Fn(&std::path::Path), expected: Expect| {
        let (temporary, _) = directory(&[Row::new(A, "1", &[1.0])]);
        let file = temporary.path().join("chroma-embeddings.parquet");
        prepare(&file);
        let error = PersistDirectory::open(temporary.path()).unwrap_err();
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            message.push_str(&format!(": {source}"));
            cause = source.source();
        }
        let root = temporary.path().canonicalize().unwrap();
        expected.assert_eq(&message.replace(root.to_str().unwrap(), "."));
    };
    let link = |file: &std::path::Path| {
        let elsewhere = file.with_file_name("elsewhere");
        fs::rename(file, &elsewhere).unwrap();
        symlink(elsewhere, file).unwrap();
    };
    let folder = |file: &std::path::Path| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    };
    check(
        &link,
        expect![
            "expected a regular file at `./chroma-embeddings.parquet`, found another kind (links are not followed)"
        ],
    );
    check(
        &folder,
        expect![
            "expected a regular file at `./chroma-embeddings.parquet`, found another kind (links are not followed)"
        ],
    );
    let write = |bytes: &'static [u8]| move |file: &std::path::Path| fs::write(file, bytes).unwrap();
    check(
        &write(b""),
        expect![
            "failed to read the footer from `./chroma-embeddings.parquet`: expected a parquet file of at least 12 bytes at byte 0, found 0 bytes"
        ],
    );
    check(
        &write(b"something else entirely"),
        expect![
            "failed to read the footer from `./chroma-embeddings.parquet`: expected `PAR1` at byte 0, found `some`"
        ],
    );
    check(
        &write(b"PAR1\x00\x00\x00\x00\xff\xff\xff\x7fPAR1"),
        expect![
            "failed to read the footer from `./chroma-embeddings.parquet`: expected a footer of at most 4 bytes at byte 8, found 2147483647"
        ],
    );
    check(
        &write(b"PAR1\x00\x00\x00\x00\x04\x00\x00\x00PAR1"),
        expect![
            "failed to read the footer from `./chroma-embeddings.parquet`: Parquet error: Required field version is missing"
        ],
    );
    let other = |file: &std::path::Path| {
        fs::rename(file.with_file_name("chroma-collections.parquet"), file).unwrap();
    };
    check(
        &other,
        expect![
            "failed to read the schema from `./chroma-embeddings.parquet`: expected a column `collection_uuid` of BYTE_ARRAY, found none"
        ],
    );
}

#[test]
fn missing_vectors_do_not_shift_their_neighbours() {
    let rows: Vec<Row> = (0..130)
        .map(|id| {
            let row = Row::new([A, B][id % 2], &id.to_string(), &[id as f64, 0.5]);
            if id % 5 == 0 { Row { embedding: None, ..row } } else { row }
        })
        .collect();
    let (_temporary, directory) = directory(&rows);
    let (records, report) = read(&directory, &directory.collections()[0]);
    assert_eq!((report.records, report.missing), (65, 13));
    for record in records {
        let id: f32 = record.id.parse().unwrap();
        match record.vector {
            Vector::Present { embedding, .. } => assert_eq!(embedding.as_slice(), [id, 0.5]),
            Vector::Missing { reason } => {
                assert_eq!(reason, MissingReason::NotStored);
                assert_eq!(id % 5.0, 0.0);
            }
        }
    }
}
