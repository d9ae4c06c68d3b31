//! Reading does not change a directory, for any path and state.

use std::{fs, path::Path};

use chroma::{Error, PersistDirectory, WarningCode};
use rusqlite::Connection;

use crate::{
    fixtures::{contents, unpack},
    golden::read,
};

/// Reads everything and returns the number of records.
fn read_all(path: &Path) -> u64 {
    let directory = PersistDirectory::open(path).unwrap();
    directory.collections().iter().map(|collection| read(&directory, collection).1.records).sum()
}

#[test]
fn reading_changes_no_file() {
    for archive in ["small-0.5.23", "small-1.5.9", "0.3.29", "0.4.24", "0.6.3", "1.5.9"] {
        let Some(fixture) = unpack(archive) else { return };
        let before = contents(fixture.path());
        for scenario in
            fs::read_dir(fixture.path()).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_dir())
        {
            read_all(&scenario);
        }
        assert!(contents(fixture.path()) == before, "{archive}");
    }
}

#[test]
fn database_in_wal_mode_is_read_from_a_copy() {
    let fixture = unpack("small-1.5.9").unwrap();
    let small = fixture.path().join("small");
    let records = read_all(&small);
    let database = small.join("chroma.sqlite3");
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("pragma journal_mode = wal").unwrap();
    // Closed: the mode stays in the header, and no other file remains.
    drop(connection);
    let before = contents(&small);
    assert_eq!(read_all(&small), records);
    assert!(contents(&small) == before);
    // A killed writer: its commits are only in `-wal`.
    let connection = Connection::open(&database).unwrap();
    connection
        .execute_batch(
            "pragma foreign_keys = off; delete from embeddings where id = (select min(id) from embeddings)",
        )
        .unwrap();
    let crashed = fixture.path().join("crashed");
    assert!(std::process::Command::new("cp").arg("-a").args([&small, &crashed]).status().unwrap().success());
    drop(connection);
    let before = contents(&crashed);
    let directory = PersistDirectory::open(&crashed).unwrap();
    assert!(directory.warnings().iter().any(|warning| warning.code == WarningCode::JournalRecovered));
    assert_eq!(read_all(&crashed), records - 1);
    assert!(contents(&crashed) == before);
}

#[test]
fn path_may_contain_any_characters() {
    let fixture = unpack("small-1.5.9").unwrap();
    let small = fixture.path().join("small");
    let records = read_all(&small);
    for name in ["a b", "what?mode=rw", "100%41#frag", "file:x", "ünï 🎈", "'\"\\"] {
        let path = fixture.path().join(name);
        assert!(std::process::Command::new("cp").arg("-a").args([&small, &path]).status().unwrap().success());
        assert_eq!(read_all(&path), records, "{name}");
    }
}

#[test]
fn other_directories_and_files_are_an_error() {
    let empty = tempfile::TempDir::new().unwrap();
    assert!(matches!(PersistDirectory::open(empty.path()), Err(Error::NoDatabase { .. })));
    assert!(matches!(PersistDirectory::open(&empty.path().join("absent")), Err(Error::NoDatabase { .. })));
    let database = empty.path().join("chroma.sqlite3");
    for content in [&b""[..], b"SQLite format 3\0", b"something else entirely"] {
        fs::write(&database, content).unwrap();
        assert!(matches!(PersistDirectory::open(empty.path()), Err(Error::NotSqlite { .. })));
        assert_eq!(fs::read(&database).unwrap(), content);
    }
    assert!(matches!(PersistDirectory::open(&database), Err(Error::NoDatabase { .. })));
    fs::remove_file(&database).unwrap();
    Connection::open(&database).unwrap().execute_batch("create table collections (id text)").unwrap();
    assert!(matches!(PersistDirectory::open(empty.path()), Err(Error::MissingSchema { .. })));
}

#[test]
fn collection_of_another_directory_is_rejected() {
    let [one, other] = ["small-0.5.23", "small-1.5.9"].map(|archive| unpack(archive).unwrap());
    let [one, other] =
        [one, other].map(|fixture| PersistDirectory::open(&fixture.path().join("small")).unwrap());
    let collection = &one.collections()[0];
    assert!(matches!(other.record_count(collection), Err(Error::ForeignCollection { .. })));
}
