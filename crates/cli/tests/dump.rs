//! `dump` prints what was written to Chroma.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_support::{fixture, sample};

use crate::{Run, panopticon, run};

fn dump(source: &Path, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), &["dump"]);
    run(command.arg(source).args(arguments))
}

/// Lines by collection and id. NaN and the infinities, which serde_json refuses, become strings.
fn records(lines: &str) -> BTreeMap<[String; 4], Value> {
    let mut records = BTreeMap::new();
    for line in lines.lines() {
        let mut line = line.to_owned();
        for number in ["NaN", "Infinity", "-Infinity"] {
            line = line
                .replace(&format!(": {number}"), &format!(": \"\\u0000{number}\""))
                .replace(&format!("\":{number}"), &format!("\":\"\\u0000{number}\""));
        }
        let record: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if record.get("id").is_some() {
            let name = ["tenant", "database", "collection", "id"]
                .map(|key| record[key].as_str().expect("a text").to_owned());
            assert!(records.insert(name, record).is_none(), "twice: {line}");
        }
    }
    records
}

/// Compares dumps of the archive's scenarios with what that Chroma returned or, where it rounds, with what was written
/// to it. `.expected` has no vector where the index was lost later.
fn compare(archive: &str, scenarios: &[(&str, i32)]) {
    let Some(folder) = fixture(archive) else { return };
    for (scenario, code) in scenarios {
        let expectations = |suffix: &str| {
            let path = folder.path().join(format!("{scenario}.{suffix}.jsonl"));
            records(&fs::read_to_string(path).expect("the expectations read"))
        };
        let (returned, written) = (expectations("expected"), expectations("model"));
        let ended = dump(&folder.path().join(scenario), &[]);
        assert_eq!(ended.code, *code, "{scenario}: {}", ended.stderr);
        let dumped = records(&ended.stdout);
        assert!(dumped.keys().eq(written.keys()), "{scenario}");
        for (name, record) in &dumped {
            // A directory that Chroma itself cannot read has no expectation.
            let (returned, written) = (returned.get(name), &written[name]);
            for key in ["document", "metadata", "uri"] {
                let expected = returned.map_or(&written[key], |returned| &returned[key]);
                // Chroma since 1.0 returns `{}` where there is only a URI (FORMAT §3).
                let expected = if *expected == json!({}) { &Value::Null } else { expected };
                assert_eq!(&record[key], expected, "{scenario} {name:?} {key}");
            }
            if let Some(returned) = returned {
                assert_eq!(record["collection_id"], returned["collection_id"], "{scenario} {name:?}");
                // Versions before 1.0 report a space only if it was set.
                let space = returned["space"].as_str().unwrap_or("l2");
                assert_eq!(record["space"], space, "{scenario} {name:?}");
            }
            let is_missing = record["origin"] == "missing";
            assert_eq!(record["reason"].is_null(), !is_missing);
            if is_missing {
                assert!(record["embedding"].is_null());
                continue;
            }
            let is_returned = returned.is_some_and(|returned| record["embedding"] == returned["embedding"]);
            assert!(is_returned || record["embedding"] == written["embedding"], "{scenario} {name:?}");
        }
    }
}

#[test]
fn lines_equal_what_was_written_to_chroma() {
    compare("small-1.5.9", &[("small", 0)]);
    compare("small-0.5.23", &[("small", 0)]);
    compare("1.5.9", &[("basic", 0), ("halfcreated", 0), ("live", 0), ("single", 0), ("hotjournal", 0)]);
    compare("0.6.3", &[("basic", 0), ("hotjournal", 0)]);
}

#[test]
fn records_of_a_lost_index_are_printed_and_end_in_exit_code_3() {
    compare(
        "corrupt",
        &[
            ("1.5.9_no_pickle", 0),
            ("1.5.9_no_segment_dir", 3),
            ("1.5.9_trunc_level0", 3),
            ("0.4.24_no_pickle", 0),
        ],
    );
    let Some(folder) = fixture("corrupt") else { return };
    let ended = dump(&folder.path().join("1.5.9_no_segment_dir"), &[]);
    let missing =
        ended.stdout.lines().filter(|line| line.contains(r#","origin":"missing","reason":"index_lost"}"#));
    assert_eq!((ended.stdout.lines().count(), missing.count()), (1327, 1046));
    expect![[r#"
        warning: thresh_cos: vector_missing: 1046 records have no vector: `id2`, `id3`, `id4`, …
        without a vector: 1046 of 1327 records"#]]
    .assert_eq(&ended.stderr.lines().skip(1).collect::<Vec<_>>().join("\n"));
}

#[test]
fn real_directory_is_dumped_in_the_documented_form() {
    let Some(folder) = fixture("panopticon-query-storage") else { return };
    let ended = dump(&folder.path().join("query_storage"), &["--collection", "queries"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let line = ended.stdout.lines().next().expect("a line");
    let (start, embedding) = line.split_once(r#""embedding":""#).expect("an embedding");
    let (embedding, end) = embedding.split_once('"').expect("the end of the embedding");
    assert_eq!(embedding.len(), 384 * 4 / 3 * 4);
    expect![[r#"{"tenant":"default_tenant","database":"default_database","collection":"queries","collection_id":"f2213e35-845d-4a9a-a6b0-42bed010c37e","space":"cosine","id":"2da1d153-453e-4914-90ee-3a4aba1a6fe2","document":"Explain the concept of quantum entanglement to a high school student.","metadata":{"difficulty":"medium","domain":"physics","theme":"science_explanation","timestamp":"2025-03-27T12:48:45.923483"},"uri":null,…,"origin":"log","reason":null}"#]].assert_eq(&format!("{start}…{end}"));
}

/// Compares every value with `expected.json`, which the script that created the sample wrote.
#[test]
fn sample_is_dumped_with_every_type_of_metadata() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/expected.json");
    let expected = fs::read_to_string(folder).expect("the sample has expectations");
    let expected: Value = serde_json::from_str(&expected).expect("they are JSON");
    for (service, expected) in expected.as_object().expect("an object") {
        let folder = sample(expected["directory"].as_str().expect("a name"));
        let ended = dump(folder.path(), &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let dumped = records(&ended.stdout);
        assert_eq!(json!(dumped.len()), expected["count"], "{service}");
        for wanted in expected["records"].as_array().expect("a list") {
            let has_id = |record: &&Value| record["id"] == wanted["id"];
            let record = dumped.values().find(has_id).expect("the record is there");
            assert_eq!(record["document"], wanted["text"]);
            assert_eq!(record["metadata"], wanted["metadata"]);
            assert_eq!(
                (&record["collection"], &record["space"]),
                (&expected["collection"], &expected["space"])
            );
        }
    }
}

#[test]
fn collections_with_the_same_name_are_dumped_from_all_databases_unless_one_is_selected() {
    let folder = sample("evaluation_storage_data");
    let database = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    database
        .execute_batch(
            "pragma foreign_keys = off;
             insert into tenants (id) values ('other tenant');
             insert into databases (id, name, tenant_id) values ('d2', 'other', 'other tenant');
             insert into collections (id, name, database_id)
                 values ('00000000-0000-0000-0000-000000000001', 'evaluation_metrics', 'd2');
             insert into segments (id, type, scope, collection) values
                 ('00000000-0000-0000-0000-000000000002', 'urn:chroma:segment/metadata/sqlite', 'METADATA',
                  '00000000-0000-0000-0000-000000000001'),
                 ('00000000-0000-0000-0000-000000000003', 'urn:chroma:segment/vector/hnsw-local-persisted', 'VECTOR',
                  '00000000-0000-0000-0000-000000000001');
             insert into embeddings (segment_id, embedding_id, seq_id)
                 values ('00000000-0000-0000-0000-000000000002', 'lonely', 1000)",
        )
        .expect("the copy changes");
    drop(database);
    let count = |arguments: &[&str], code| {
        let ended = dump(folder.path(), arguments);
        assert_eq!(ended.code, code, "{ended:?}");
        ended.stdout.lines().count()
    };
    let name = ["--collection", "evaluation_metrics"];
    assert_eq!(count(&name, 3), 25);
    assert_eq!(count(&["--tenant", "default_tenant"], 0), 24);
    assert_eq!(count(&["--database", "default_database", name[0], name[1]], 0), 24);
    let ended = dump(folder.path(), &["--tenant", "other tenant", "--database", "other"]);
    expect![[r#"
        {"tenant":"other tenant","database":"other","collection":"evaluation_metrics","collection_id":"00000000-0000-0000-0000-000000000001","space":"l2","id":"lonely","document":null,"metadata":null,"uri":null,"embedding":null,"origin":"missing","reason":"not_stored"}
        warning: other tenant/other/evaluation_metrics: vector_missing: 1 records have no vector: `lonely`
        without a vector: 1 of 1 record
    "#]].assert_eq(&format!("{}{}", ended.stdout, ended.stderr));
}

#[test]
fn missing_source_is_a_usage_error_that_lists_the_collections() {
    let folder = sample("query_storage_data");
    let source = folder.path().display().to_string();
    let empty = tempfile::tempdir().expect("a temporary folder");
    let nothing_there = empty.path().display().to_string();
    for (arguments, expected) in [
        (vec![&*source, "--collection", "query"], "found no collection `query`; the source has `queries`"),
        (vec![&*source, "--tenant", "t\u{1b}"], "found no tenant `t\\u{1b}`; the source has `queries`"),
        (vec![&*nothing_there], "chroma.sqlite3"),
        (vec![&*source, "--token", "s3cret"], "--token applies to servers only"),
        (vec![&*source, "--token-header", "x-chroma-token"], "--token-header applies to servers only"),
        (vec!["http://localhost:1", "--token", "s3cret\n"], "the token cannot be sent"),
        (
            vec!["HTTPS://user:s3cret@127.0.0.1:1/x?token=s3cret"],
            "failed to reach a Chroma server at https://127.0.0.1:1/x",
        ),
        (vec!["https://:1"], "URL of a Chroma server"),
        (vec![], "<SOURCE>"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = panopticon(folder.path(), &["dump"]);
        let ended = run(command.args(&arguments));
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.contains("s3cret") && !ended.stderr.contains('\u{1b}'), "{ended:?}");
    }
}

#[test]
fn text_that_is_not_unicode_is_dumped_with_its_bytes_and_exit_code_3() {
    let folder = sample("evaluation_storage_data");
    let database = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    let statement = "update embedding_metadata set string_value = cast(x'61ff' as text)
        where key = 'chroma:document' and id = (select min(id) from embedding_metadata)";
    assert_eq!(database.execute(statement, []).expect("the copy changes"), 1);
    drop(database);
    let ended = dump(folder.path(), &[]);
    assert_eq!(ended.code, 3, "{ended:?}");
    let odd: Vec<Value> =
        records(&ended.stdout).into_values().filter(|record| record.get("problems").is_some()).collect();
    assert_eq!(odd.len(), 1);
    assert_eq!(odd[0]["document"], "a\u{fffd}");
    assert_eq!(odd[0]["problems"], json!([{"field": "document", "kind": "not_unicode", "original": "Yf8="}]));
    assert!(
        ended.stderr.contains("not exactly as stored, see their `problems`: 1 of 24 records"),
        "{ended:?}"
    );
}

#[test]
fn error_in_the_middle_reports_the_records_that_were_read() {
    let folder = sample("query_storage_data");
    let path = folder.path().join("chroma.sqlite3");
    let database = rusqlite::Connection::open(&path).expect("the copy opens");
    let page: i64 = database
        .query_row(
            "select max(pageno) from dbstat where name = 'embedding_metadata' and pagetype = 'leaf'",
            [],
            |row| row.get(0),
        )
        .expect("the table has pages");
    let page_size: i64 = database.query_row("pragma page_size", [], |row| row.get(0)).expect("a size");
    drop(database);
    let mut bytes = fs::read(&path).expect("the copy reads");
    let start = usize::try_from((page - 1) * page_size).expect("it is small");
    bytes[start..start + 100].fill(0xff);
    fs::write(&path, bytes).expect("the copy changes");
    let ended = dump(folder.path(), &[]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let lines = ended.stdout.lines().count();
    assert!(lines > 0 && lines < 61 && ended.stdout.ends_with("}\n"), "{lines}");
    let expected =
        format!("error: stopped after reading {lines} records, in collection `queries`: failed to read");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}

#[test]
fn reader_that_closes_the_pipe_ends_the_dump_silently() {
    let folder = sample("query_storage_data");
    let mut command = panopticon(folder.path(), &["dump"]);
    let mut child = command
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut line = String::new();
    // Only a part of the pipe's buffer is read, so that the next write fails.
    let mut stdout = BufReader::with_capacity(1024, child.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(141));
}

#[test]
fn signal_ends_a_dump_whose_output_is_not_read() {
    let folder = sample("query_storage_data");
    let mut command = panopticon(folder.path(), &["dump"]);
    let mut child = command.arg(folder.path()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    // The sample is larger than the buffer of a pipe: after one line, the dump is running and waits for the reader.
    let mut stdout = BufReader::with_capacity(1024, child.stdout.take().expect("it is piped"));
    stdout.read_line(&mut String::new()).expect("a line");
    let pid = Pid::from_raw(child.id().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, Signal::TERM).expect("the signal is sent");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
