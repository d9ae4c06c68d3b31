//! `inspect`: its text and JSON for real directories.

use std::path::Path;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use test_support::{fixture, folder_digest, sample};

use crate::{Run, panopticon, run};

fn inspect(source: &Path, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), &["inspect"]);
    run(command.arg(source).args(arguments))
}

/// Compares the text, with `SOURCE` in place of the temporary path.
fn check(source: &Path, code: i32, expected: Expect) {
    let ended = inspect(source, &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{ended:?}");
    let longest = ended.stdout.lines().skip(1).map(|line| line.chars().count()).max();
    assert!(longest.is_some_and(|longest| longest <= 80), "{ended:?}");
    expected.assert_eq(&ended.stdout.replacen(&source.display().to_string(), "SOURCE", 1));
}

#[test]
fn sample_is_described() {
    let folder = sample("query_storage_data");
    let before = folder_digest(folder.path());
    check(
        folder.path(),
        0,
        expect![[r#"
            SOURCE
              Chroma 1.5.0 to 1.5.9, sqlite, 532.4 kB
              log: 27 rows, purged once they are in the index

            collection  space   dim  records  log  hnsw  missing
            queries     cosine  384       61   24    37        0
              metadata: hnsw:space="cosine"

            Vectors stored only in a cosine index: 37, within 2 ulp of what was sent.
            All 61 records can be read exactly, each with its vector.
        "#]],
    );
    assert!(folder_digest(folder.path()) == before, "the source is not written to");
    let folder = sample("evaluation_storage_data");
    check(
        folder.path(),
        0,
        expect![[r#"
            SOURCE
              Chroma 1.0.0 to 1.2.2, sqlite, 426.1 kB
              log: 24 rows, purged once they are in the index

            collection          space   dim  records  log  hnsw  missing
            evaluation_metrics  cosine  384       24   24     0        0
              metadata: hnsw:space="cosine"

            All 24 records can be read exactly, each with its vector.
        "#]],
    );
    let folder = sample("judge_service_data");
    check(
        folder.path(),
        0,
        expect![[r#"
            SOURCE
              Chroma 1.5.0 to 1.5.9, sqlite, 651.8 kB
              log: 14 rows, purged once they are in the index

            collection   space   dim  records  log  hnsw  missing
            llm_outputs  cosine  384       60   12    48        0
              metadata: hnsw:space="cosine"

            Vectors stored only in a cosine index: 48, within 2 ulp of what was sent.
            All 60 records can be read exactly, each with its vector.
        "#]],
    );
}

#[test]
fn directories_of_many_kinds_are_described() {
    let Some(folder) = fixture("1.5.9") else { return };
    check(
        &folder.path().join("basic"),
        0,
        expect![[r#"
            SOURCE
              Chroma 1.5.0 to 1.5.9, sqlite, 7.5 MB
              log: 249 rows, purged once they are in the index
              left over from dropped collections: 2 index directories (such as
              321900fb-6c3a-494d-8f4f-db0158feed2b)

            collection          space   dim  records  log  hnsw  missing
            [tenant default_tenant, database default_database]
            bare                l2        4       33   13    20        0
              metadata: hnsw:batch_size=10, hnsw:sync_threshold=20
            cfg_conflict        ip        8       25    6    19        0
              metadata: hnsw:space="cosine"
              warning: space_conflict: the collection's metadata declares `cosine`, but the
                index was built for `ip`; using `ip`
            cfg_cos             cosine    8       45    6    39        0
            cfg_spann           cosine    8       25   25     0        0
            cos_partial         cosine    8       54    1    53        0
              metadata: hnsw:batch_size=10, hnsw:space="cosine", hnsw:sync_threshold=20
            cos_zero            cosine    4       26    6    20        0
              metadata: hnsw:batch_size=10, hnsw:space="cosine", hnsw:sync_threshold=20
            docs                l2        4       12   12     0        0
            empty_all_deleted   l2        4        0    0     0        0
              metadata: hnsw:batch_size=10, hnsw:sync_threshold=20
            empty_never         l2        -        0    0     0        0
            empty_wal_deleted   l2        4        0    0     0        0
            f32_values          l2        4       28    6    22        0
              metadata: hnsw:batch_size=10, hnsw:space="l2", hnsw:sync_threshold=20
            ip_partial          ip        3       40    8    32        0
              metadata: hnsw:batch_size=10, hnsw:space="ip", hnsw:sync_threshold=20
            meta_types          l2        4       21   21     0        0
            nodoc               l2        4       12   12     0        0
            nometa              l2        4       12   12     0        0
            readd_l2            l2        4       61    6    55        0
              metadata: hnsw:batch_size=10, hnsw:space="l2", hnsw:sync_threshold=20
            renamed_collection  l2        4        6    6     0        0
              metadata: n=3, note="renamed", x=1.25
            schema_cos          cosine    8       12   12     0        0
            uris                l2        5        9    9     0        0
            uris_nodoc_nometa   l2        5        3    3     0        0
            wal_only_384        l2      384       39   39     0        0
            [tenant default_tenant, database second_db]
            wal_only_384        l2        6        7    7     0        0
            [tenant tenant-zwei, database db_two]
            in_other_tenant     cosine    6       26    7    19        0
              metadata: hnsw:batch_size=10, hnsw:space="cosine", hnsw:sync_threshold=20

            Vectors stored only in a cosine index: 131, within 2 ulp of what was sent.
            All 496 records can be read exactly, each with its vector.
        "#]],
    );
    let Some(folder) = fixture("0.6.3") else { return };
    check(
        &folder.path().join("hotjournal"),
        0,
        expect![[r#"
            SOURCE
              Chroma 0.5.6 to 0.6.3, sqlite, 2.6 MB
              log: 23 rows, purged once they are in the index
              its last writer crashed in a transaction, which is rolled back in a private
              copy

            collection  space   dim  records  log  hnsw  missing
            kill_one    cosine    8       36   19    17        0
              metadata: hnsw:batch_size=10, hnsw:space="cosine", hnsw:sync_threshold=20
            kill_two    l2      384        3    3     0        0

            warning: journal_recovered: the database was left in the middle of a transaction
              or is in WAL mode; reading a private copy

            Vectors stored only in a cosine index: 17, within 2 ulp of what was sent.
            All 39 records can be read exactly, each with its vector.
        "#]],
    );
    let Some(folder) = fixture("panopticon-query-storage") else { return };
    check(
        &folder.path().join("query_storage"),
        0,
        expect![[r#"
            SOURCE
              Chroma 0.5.6 to 0.6.3, sqlite, 1.8 MB
              log: 2 rows, purged once they are in the index

            collection  space   dim  records  log  hnsw  missing
            queries     cosine  384        2    2     0        0
              metadata: hnsw:space="cosine"

            All 2 records can be read exactly, each with its vector.
        "#]],
    );
}

#[test]
fn lost_index_ends_in_exit_code_3() {
    let Some(folder) = fixture("corrupt") else { return };
    check(
        &folder.path().join("1.5.9_no_segment_dir"),
        3,
        expect![[r#"
            SOURCE
              Chroma 1.5.0 to 1.5.9, sqlite, 1.4 MB
              log: 286 rows, purged once they are in the index

            collection  space   dim  records  log  hnsw  missing
            thresh_cos  cosine   16    1,327  281     0    1,046
              metadata: hnsw:space="cosine"
              warning: index_lost: the index `d24aee4e-5297-42e3-9b1b-a330ea9ded88` is lost:
                expected its directory, found none; only vectors in the log are available,
                because salvage failed: its vectors cannot be read: expected its directory,
                found none
              warning: vector_missing: 1046 records have no vector: `id2`, `id3`, `id4`, …

            1,046 of 1,327 records have no vector: index lost.
        "#]],
    );
}

#[test]
fn json_has_exactly_the_documented_members() {
    let folder = sample("evaluation_storage_data");
    let ended = inspect(folder.path(), &["--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let source = folder.path().display().to_string();
    expect![[r#"
        {"source":"SOURCE","kind":"sqlite","chroma_version":{"min":"1.0.0","max":"1.2.2"},"size_bytes":426148,"log":{"rows":24,"auto_purge":true,"hot_journal":false},"collections":[{"tenant":"default_tenant","database":"default_database","name":"evaluation_metrics","id":"72cde47b-764b-4839-9d30-76af20933ae7","space":"cosine","dimension":384,"records":24,"vectors":{"log":24,"hnsw":0,"salvaged":0},"missing":0,"metadata":{"hnsw:space":"cosine"},"warnings":[]}],"orphans":{"segment_directories":[],"segments":0,"records":0,"topics":0,"log_rows":0},"warnings":[]}
    "#]].assert_eq(&ended.stdout.replacen(&source, "SOURCE", 1));

    let Some(folder) = fixture("corrupt") else { return };
    let ended = inspect(&folder.path().join("1.5.9_no_segment_dir"), &["--json"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("one object");
    let collection = &report["collections"][0];
    assert_eq!(collection["vectors"], json!({"log": 281, "hnsw": 0, "salvaged": 0}));
    assert_eq!((&collection["records"], &collection["missing"]), (&json!(1327), &json!(1046)));
    let codes: Vec<&Value> =
        collection["warnings"].as_array().into_iter().flatten().map(|warning| &warning["code"]).collect();
    assert_eq!(codes, ["index_lost", "vector_missing"]);

    let Some(folder) = fixture("0.6.3") else { return };
    let ended = inspect(&folder.path().join("basic"), &["--json", "--tenant", "tenant-zwei"]);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one object");
    assert_eq!(report["chroma_version"], json!({"min": "0.5.6", "max": "0.6.3"}));
    assert_eq!(report["orphans"]["segment_directories"].as_array().map(Vec::len), Some(2));
    assert_eq!((&report["orphans"]["segments"], &report["orphans"]["records"]), (&json!(2), &json!(34)));
    let names: Vec<&Value> = report["collections"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|collection| &collection["name"])
        .collect();
    assert_eq!(names, ["in_other_tenant"]);
    let ended = inspect(&folder.path().join("hotjournal"), &["--json"]);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one object");
    assert_eq!(report["log"], json!({"rows": 23, "auto_purge": true, "hot_journal": true}));
}

#[test]
fn control_characters_in_names_and_metadata_are_escaped() {
    let folder = sample("evaluation_storage_data");
    let database = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    let hostile = "\u{1b}[2J\u{9b}31m\r\n\u{202e}評価の指標、とても長い名前のコレクション";
    for (sql, parameters) in [
        ("update collections set name = ?1", [hostile]),
        ("update tenants set id = ?1", [hostile]),
        ("update databases set tenant_id = ?1", [hostile]),
        (
            "insert into collection_metadata select id, ?1, 'a b', null, null, null from collections",
            [hostile],
        ),
        ("update collection_metadata set str_value = 'ip' || ?1 where key = 'hnsw:space'", [hostile]),
        ("update collections set config_json_str = ?1", [hostile]),
        ("insert into migrations values ('metadb', 99, ?1, '', '')", [hostile]),
    ] {
        let changed = database
            .execute_batch("pragma foreign_keys = off")
            .and_then(|()| database.execute(sql, parameters));
        assert_eq!(changed.expect("the copy changes"), 1, "{sql}");
    }
    drop(database);
    check(
        folder.path(),
        0,
        expect![[r#"
            SOURCE
              Chroma 1.0.0 or newer, with schema changes unknown to this version, sqlite,
              426.1 kB
              log: 24 rows, purged once they are in the index

            collection                               space  dim  records  log  hnsw  missing
            [tenant \u{1b}[2J\u{9b}31m\r\n\u{202e}評価の指標、とても長い名前のコレクション,
              database default_database]
            \u{1b}[2J\u{9b}31m\r\n\u{202e}評価の指…  l2     384       24   24     0        0
              metadata: \u{1b}[2J\u{9b}31m\r\n\u{202e}評価の指標、とても長い名前のコレクション="a
                b",
                hnsw:space="ip\u001b[2J\u009b31m\r\n\u202e評価の指標、とても長い名前のコレクション"
              warning: configuration_unreadable: failed to parse `config_json_str`: expected
                a value at byte 0 of the JSON text; the distance space is read from another
                source
              warning: space_conflict: the collection's metadata declares
                `ip\u{1b}[2J\u{9b}31m\r\n\u{202e}評価の指標、とても長い名前のコレクション`,
                but the index was built for `l2`; using `l2`

            All 24 records can be read exactly, each with its vector.
        "#]],
    );
    for command in [&["inspect", "--json"][..], &["dump"]] {
        let working = tempfile::tempdir().expect("a temporary folder");
        let ended = run(panopticon(working.path(), command).arg(folder.path()));
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!ended.stdout.contains(obeyed) && !ended.stderr.contains(obeyed), "{ended:?}");
    }
}

#[test]
fn invalid_source_is_a_usage_error() {
    let folder = sample("evaluation_storage_data");
    let empty = tempfile::tempdir().expect("a temporary folder");
    for (source, arguments, expected) in [
        (empty.path(), &[][..], "chroma.sqlite3"),
        (&folder.path().join("chroma.sqlite3"), &[], "found none"),
        (folder.path(), &["--database", "d"], "found no database `d`; the source has `evaluation_metrics`"),
        (
            Path::new("http://127.0.0.1:1"),
            &["--json"],
            "failed to reach a Chroma server at http://127.0.0.1:1",
        ),
    ] {
        let ended = inspect(source, arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn directory_without_records_says_so() {
    let folder = sample("evaluation_storage_data");
    let database = rusqlite::Connection::open(folder.path().join("chroma.sqlite3")).expect("the copy opens");
    let change = |sql: &str| database.execute_batch(sql).expect("the copy changes");
    change("pragma foreign_keys = off; delete from embeddings; delete from embeddings_queue");
    assert!(inspect(folder.path(), &[]).stdout.ends_with("\n\nThere are no records.\n"));
    change("delete from collections");
    let ended = inspect(folder.path(), &[]);
    assert_eq!(ended.code, 0);
    assert!(ended.stdout.ends_with("\n\nThere are no collections.\n"), "{ended:?}");
}

#[test]
fn records_of_unlisted_collections_are_named() {
    let (Some(folder), Some(other)) = (fixture("0.3.29"), fixture("0.3.29")) else { return };
    let (source, live) = (folder.path().join("basic"), other.path().join("live"));
    let name = "chroma-collections.parquet";
    std::fs::copy(live.join(name), source.join(name)).expect("the list of another directory");
    let ended = inspect(&source, &[]);
    let text = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let warning =
        "records are not read, because `chroma-collections.parquet` does not list their collection: `";
    assert!(text.contains(warning) && !text.contains("left over"), "{ended:?}");
    let json: Value = serde_json::from_str(&inspect(&source, &["--json"]).stdout).expect("JSON");
    let warnings = json["warnings"].as_array().expect("a list");
    assert!(warnings.iter().any(|warning| warning["code"] == "orphan_records"), "{json}");
}
