//! Rows that Chroma's clients hardly write, inserted by SQL.

use chroma::{Field, MissingReason, Origin, PersistDirectory, ProblemKind, Record, Vector};
use expect_test::expect;
use records::MetadataValue;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    fixtures::{unpack, write_old},
    golden::read,
};

/// The `live` scenario of 1.5.9 after some SQL; the collection is `kill_one`, cosine, of dimension 8.
fn crafted(sql: &str) -> Option<(TempDir, Vec<Record>, Vec<String>)> {
    let fixture = unpack("1.5.9")?;
    let path = fixture.path().join("live");
    let connection = Connection::open(path.join("chroma.sqlite3")).unwrap();
    connection.execute_batch("pragma foreign_keys = off").unwrap();
    let topic: String = connection
        .query_row(
            "select 'persistent://default/default/' || id from collections where name = 'kill_one'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    connection.execute_batch(&sql.replace("$topic", &topic)).unwrap();
    drop(connection);
    let directory = PersistDirectory::open(&path).unwrap();
    let collection = directory.collections().iter().find(|collection| collection.name == "kill_one").unwrap();
    let (records, report) = read(&directory, collection);
    let warnings = directory.warnings().iter().chain(&report.warnings).map(ToString::to_string).collect();
    drop(directory);
    Some((fixture, records, warnings))
}

fn find<'r>(records: &'r [Record], id: &str) -> &'r Record {
    records.iter().find(|record| record.id == id).unwrap_or_else(|| panic!("no `{id}`"))
}

#[test]
fn text_that_is_not_unicode_is_a_problem_with_its_bytes() {
    let Some((_fixture, records, warnings)) = crafted(
        r#"update embeddings set embedding_id = cast(x'69ff64' as text) where embedding_id = 'id3';
           update embedding_metadata set string_value = cast(x'c3' as text)
               where key = 'chroma:document' and id = (select id from embeddings where embedding_id = 'id4');
           insert into embeddings_queue (operation, topic, id, metadata)
               values (0, '$topic', 'surrogate', '{"chroma:document":"a\ud800b","k":"\udfff","n":NaN,"i":Infinity}');"#,
    ) else {
        return;
    };
    let id = find(&records, "i\u{fffd}d");
    assert_eq!((&id.problems[0].field, &*id.problems[0].original), (&Field::Id, &b"i\xffd"[..]));
    let document = find(&records, "id4");
    assert_eq!(document.document.as_deref(), Some("\u{fffd}"));
    assert_eq!(
        (&document.problems[0].field, &*document.problems[0].original),
        (&Field::Document, &b"\xc3"[..])
    );
    let surrogate = find(&records, "surrogate");
    assert_eq!(surrogate.problems.len(), 2);
    assert!(surrogate.problems.iter().all(|problem| problem.kind == ProblemKind::NotUnicode));
    assert_eq!(&*surrogate.problems[0].original, b"a\xed\xa0\x80b");
    assert_eq!(surrogate.metadata["i"], MetadataValue::Float(f64::INFINITY));
    assert_eq!(surrogate.vector, Vector::Missing { reason: MissingReason::NotStored });
    expect![[r#"
        vector_without_record: 1 vectors in the index have no record, for ids: `id3`
        vector_missing: 2 records have no vector: `i�d`, `surrogate`
        metadata_value_lost: 1 records have metadata keys without a value (NaN, which Chroma does not store): `surrogate`
        record_problem: 3 records have values that their fields cannot represent: `i�d`, `id4`, `surrogate`"#]].assert_eq(&warnings.join("\n"));
}

#[test]
fn invalid_log_rows_are_reported_and_do_not_stop_the_read() {
    let Some((_fixture, records, warnings)) = crafted(
        r#"insert into embeddings_queue (operation, topic, id, vector, encoding, metadata) values
               (0, '$topic', 'short', x'0000803f00', 'FLOAT32', '{}'),
               (0, '$topic', 'ints', x'00000000', 'INT32', '{}'),
               (0, '$topic', 'text', 'abcd', 'FLOAT32', '{}'),
               (1, '$topic', 'id5', x'00', 'FLOAT32', '{}'),
               (0, '$topic', 'other dimension', x'0000803f', 'FLOAT32', '{}'),
               (0, '$topic', 'not json', null, null, '{"a":'),
               (9, '$topic', 'operation', null, null, '{}'),
               (4, '$topic', 'backfill', null, null, '{}'),
               (0, '$topic', x'00', null, null, null),
               (0, 'persistent://default/default/nobody', 'orphan', null, null, '{}');
           update embedding_metadata set int_value = 'text', string_value = null, float_value = null
               where key = 'i' and id = (select min(id) from embeddings);"#,
    ) else {
        return;
    };
    for id in ["short", "ints", "text", "id5"] {
        assert_eq!(find(&records, id).vector, Vector::Missing { reason: MissingReason::Undecodable }, "{id}");
    }
    assert_eq!(find(&records, "not json").problems[0].kind, ProblemKind::NotJson);
    assert!(records.iter().all(|record| record.id != "operation" && record.id != "backfill"));
    expect![[r#"
        orphan_log_rows: 1 log rows of 1 collections that do not exist
        dimension_mismatch: 1 vectors do not have the collection's dimension, for ids: `other dimension`
        vector_missing: 6 records have no vector: `id5`, `short`, `ints`, …
        log_row_unreadable: 4 log rows have a vector that is not FLOAT32, for ids: `id5`, `short`, `ints`, …
        log_row_unreadable: 1 log rows have an unknown operation, for ids: `operation`
        record_problem: 2 records have values that their fields cannot represent: `id0`, `not json`"#]]
    .assert_eq(&warnings.join("\n"));
}

#[test]
fn invalid_max_seq_id_replays_the_complete_log() {
    let Some((_fixture, records, _)) = crafted("update max_seq_id set seq_id = 'x'") else { return };
    assert_eq!(records.len(), 36);
}

/// A record whose only vector is in a lost index, and a later `add` of its id, which had no effect.
#[test]
fn add_without_effect_does_not_replace_the_vector_of_a_lost_index() {
    let Some(fixture) = unpack("1.5.9-thresh") else { return };
    let path = fixture.path().join("thresh");
    let connection = Connection::open(path.join("chroma.sqlite3")).unwrap();
    connection
        .execute_batch(
            "insert into embeddings_queue (operation, topic, id, vector, encoding, metadata)
                 select 0, topic, 'id500', vector, encoding, '{}' from embeddings_queue where seq_id = 1060;
             update max_seq_id set seq_id = (select max(seq_id) from embeddings_queue)
                 where segment_id = (select id from segments where scope = 'METADATA');",
        )
        .unwrap();
    drop(connection);
    let vector_of = |id: &str| {
        let directory = PersistDirectory::open(&path).unwrap();
        let (records, _) = read(&directory, &directory.collections()[0]);
        find(&records, id).vector.clone()
    };
    let Vector::Present { origin: Origin::HnswRounded, .. } = vector_of("id500") else {
        panic!("{:?}", vector_of("id500"))
    };
    for entry in std::fs::read_dir(&path).unwrap() {
        let segment = entry.unwrap().path();
        for file in ["index_metadata.pickle", "data_level0.bin"] {
            if segment.join(file).exists() {
                write_old(&segment.join(file), b"");
            }
        }
    }
    assert_eq!(vector_of("id500"), Vector::Missing { reason: MissingReason::IndexLost });
    assert!(matches!(vector_of("id1100"), Vector::Present { origin: Origin::Log, .. }));
}
