//! Overviews of directories, without reading their records.

use std::{fs, path::Path};

use chroma::{Kind, LogOverview, Orphans, Overview, PersistDirectory, VersionRange};
use expect_test::{Expect, expect};

use crate::fixtures::{contents, unpack};

fn overview(path: &Path) -> Overview {
    PersistDirectory::open(path).unwrap().overview().unwrap()
}

/// One line for each scenario of an archive, without the sizes.
fn check(archive: &str, expected: Expect) {
    let Some(fixture) = unpack(archive) else { return };
    let mut paths: Vec<_> =
        fs::read_dir(fixture.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_dir());
    paths.sort();
    let lines = paths.iter().map(|path| {
        let Overview { kind, version, log, orphans, .. } = overview(path);
        let VersionRange { min, max } = version;
        let LogOverview { rows, auto_purge, hot_journal } = log;
        let Orphans { segment_directories, segments, records, topics, log_rows } = orphans;
        format!(
            "{}: {} {min} – {}, {rows} rows, purge {auto_purge:?}, hot {hot_journal}, orphans {} {segments} {records} {topics} {log_rows}",
            path.file_name().unwrap().display(),
            kind.as_str(),
            max.unwrap_or("?"),
            segment_directories.len(),
        )
    });
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn overview_of_every_version() {
    check(
        "small-0.5.23",
        expect!["small: sqlite 0.5.6 – 0.6.3, 52 rows, purge Some(true), hot false, orphans 0 0 0 0 0"],
    );
    check(
        "small-1.5.9",
        expect!["small: sqlite 1.5.0 – 1.5.9, 52 rows, purge Some(true), hot false, orphans 0 0 0 0 0"],
    );
    check(
        "0.4.24",
        expect![[r#"
        basic: sqlite 0.4.15 – 0.4.24, 486 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        halfcreated: sqlite 0.4.15 – 0.4.24, 5 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        live: sqlite 0.4.15 – 0.4.24, 42 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        single: sqlite 0.4.15 – 0.4.24, 9 rows, purge Some(false), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "0.5.0",
        expect![[r#"
        basic: sqlite 0.5.0 – 0.5.0, 486 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        halfcreated: sqlite 0.5.0 – 0.5.0, 5 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        live: sqlite 0.5.0 – 0.5.0, 42 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        single: sqlite 0.5.0 – 0.5.0, 9 rows, purge Some(false), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "0.5.23",
        expect![[r#"
        basic: sqlite 0.5.6 – 0.6.3, 214 rows, purge Some(true), hot false, orphans 2 2 34 0 0
        halfcreated: sqlite 0.5.6 – 0.6.3, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        live: sqlite 0.5.6 – 0.6.3, 23 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        single: sqlite 0.5.6 – 0.6.3, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "0.6.3",
        expect![[r#"
        basic: sqlite 0.5.6 – 0.6.3, 214 rows, purge Some(true), hot false, orphans 2 2 34 0 0
        halfcreated: sqlite 0.5.6 – 0.6.3, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        hotjournal: sqlite 0.5.6 – 0.6.3, 23 rows, purge Some(true), hot true, orphans 0 0 0 0 0
        live: sqlite 0.5.6 – 0.6.3, 23 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        single: sqlite 0.5.6 – 0.6.3, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "1.0.20",
        expect![[r#"
        basic: sqlite 1.0.0 – 1.2.2, 234 rows, purge Some(true), hot false, orphans 2 0 0 0 0
        halfcreated: sqlite 1.0.0 – 1.2.2, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        live: sqlite 1.0.0 – 1.2.2, 22 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        single: sqlite 1.0.0 – 1.2.2, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "1.5.9",
        expect![[r#"
        basic: sqlite 1.5.0 – 1.5.9, 249 rows, purge Some(true), hot false, orphans 2 0 0 0 0
        halfcreated: sqlite 1.5.0 – 1.5.9, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        hotjournal: sqlite 1.5.0 – 1.5.9, 22 rows, purge Some(true), hot true, orphans 0 0 0 0 0
        live: sqlite 1.5.0 – 1.5.9, 22 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        single: sqlite 1.5.0 – 1.5.9, 5 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        walahead: sqlite 1.5.0 – 1.5.9, 34 rows, purge Some(true), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "cross",
        expect![[r#"
        0.4.24_0.4.24: sqlite 0.4.15 – 0.4.24, 138 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        0.4.24_0.5.23_1.5.9: sqlite 1.5.0 – 1.5.9, 210 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        0.5.0_0.6.3: sqlite 0.5.6 – 0.6.3, 138 rows, purge Some(false), hot false, orphans 0 0 0 0 0
        0.6.3_0.6.3_0.6.3: sqlite 0.5.6 – 0.6.3, 12 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        0.6.3_1.0.20_1.5.9: sqlite 1.5.0 – 1.5.9, 4 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        1.5.9_1.5.9_1.5.9: sqlite 1.5.0 – 1.5.9, 4 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        vacuumed_by_0.6.3: sqlite 0.5.6 – 0.6.3, 20 rows, purge Some(true), hot false, orphans 0 0 0 0 0
        vacuumed_by_1.5.9: sqlite 1.5.0 – 1.5.9, 8 rows, purge Some(true), hot false, orphans 0 0 0 0 0"#]],
    );
    check(
        "panopticon-query-storage",
        expect![
            "query_storage: sqlite 0.5.6 – 0.6.3, 2 rows, purge Some(true), hot false, orphans 0 0 0 0 0"
        ],
    );
}

/// The holes of `link_lists.bin`, 256 MB, do not count either.
#[test]
fn size_is_that_of_the_files_that_are_read() {
    for archive in ["0.6.3", "1.5.9"] {
        let Some(fixture) = unpack(archive) else { return };
        let path = fixture.path().join("hotjournal");
        let read = contents(&path).into_iter().filter(|(path, _)| !path.ends_with("link_lists.bin"));
        assert_eq!(overview(&path).size_bytes, read.map(|(_, content)| content.len() as u64).sum::<u64>());
    }
    let Some(fixture) = unpack("corrupt") else { return };
    assert!(overview(&fixture.path().join("1.5.9_huge_linklists")).size_bytes < 10_000_000);
}

#[test]
fn wal_mode_is_not_a_hot_journal() {
    let Some(fixture) = unpack("1.5.9") else { return };
    let live = fixture.path().join("live");
    let connection = rusqlite::Connection::open(live.join("chroma.sqlite3")).unwrap();
    connection.execute_batch("pragma journal_mode = wal").unwrap();
    drop(connection);
    assert!(!overview(&live).log.hot_journal);
}

#[test]
fn unknown_log_configuration_has_no_auto_purge_value() {
    let Some(fixture) = unpack("1.5.9") else { return };
    let live = fixture.path().join("live");
    assert_eq!(overview(&live).kind, Kind::Sqlite);
    for (configuration, expected) in [
        ("'{\"automatically_purge\": false}'", Some(false)),
        ("'{}'", None),
        ("'{'", None),
        ("1", None),
        ("null", None),
        ("cast('{\"automatically_purge\": true}' as blob)", Some(true)),
    ] {
        let connection = rusqlite::Connection::open(live.join("chroma.sqlite3")).unwrap();
        let update = format!("update embeddings_queue_config set config_json_str = {configuration}");
        connection.execute_batch(&update).unwrap();
        drop(connection);
        assert_eq!(overview(&live).log.auto_purge, expected, "{configuration}");
    }
    let connection = rusqlite::Connection::open(live.join("chroma.sqlite3")).unwrap();
    connection.execute_batch("delete from embeddings_queue_config").unwrap();
    drop(connection);
    assert_eq!(overview(&live).log.auto_purge, Some(false));
}
