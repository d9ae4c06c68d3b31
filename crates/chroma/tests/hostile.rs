//! Malicious directories: nothing outside of them is read, changed or removed, and reading takes time and memory in
//! proportion to their size.

use std::{
    error::Error as _,
    fs::{self, File},
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use chroma::{Error, PersistDirectory};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fixtures::contents, golden::read};

const TABLES: &str = include_str!("../testdata/tables-1.5.9.sql");

/// One collection with one record.
const ROWS: &str = "
    insert into databases values ('d', 'default_database', 'default_tenant');
    insert into collections values ('aaaaaaaa-0000-4000-8000-000000000001', 'a', 1, 'd', null, null);
    insert into segments values ('m', 'urn:chroma:segment/metadata/sqlite', 'METADATA',
        'aaaaaaaa-0000-4000-8000-000000000001');
    insert into segments values ('cccccccc-0000-4000-8000-000000000001',
        'urn:chroma:segment/vector/hnsw-local-persisted', 'VECTOR', 'aaaaaaaa-0000-4000-8000-000000000001');
    insert into embeddings values (1, 'm', 'id', 1, '2026-01-01 00:00:00');";

/// A directory with that collection, changed by `sql`.
fn directory(sql: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("chroma.sqlite3");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(&["pragma foreign_keys = off;", TABLES, ROWS, sql].concat()).unwrap();
    (directory, path)
}

/// Reads everything; returns the number of records, or the error.
fn read_all(path: &Path) -> Result<u64, Error> {
    let directory = PersistDirectory::open(path)?;
    directory.overview()?;
    Ok(directory.collections().iter().map(|collection| read(&directory, collection).1.records).sum())
}

/// Leaves a hot journal next to the database, as by a writer that crashed before the commit.
fn crash(path: &Path) -> PathBuf {
    let journal = path.with_file_name("chroma.sqlite3-journal");
    let connection = Connection::open(path).unwrap();
    // Without a cache, the change is written to the file before the commit.
    connection
        .execute_batch("pragma cache_size = 1; pragma cache_spill = 1; begin; update embeddings set embedding_id = 'new'; create table t (x); insert into t select zeroblob(900) from (with recursive n (v) as (select 1 union all select v + 1 from n where v < 200) select v from n);")
        .unwrap();
    let (database, hot) = (fs::read(path).unwrap(), fs::read(&journal).unwrap());
    drop(connection);
    fs::write(path, database).unwrap();
    fs::write(&journal, hot).unwrap();
    journal
}

/// The end of a journal that belongs to a transaction over several databases. It is not documented in
/// sqlite.org/fileformat.html; see pager.c, `writeSuperJournal`: number of the lock page, name, its length, its sum,
/// magic.
fn super_journal_record(name: &Path) -> Vec<u8> {
    let name = name.to_str().unwrap().as_bytes();
    let sum = name.iter().fold(0_u32, |sum, byte| sum.wrapping_add(*byte as i8 as u32));
    let lock_page = (0x4000_0000_u32 / 4096 + 1).to_be_bytes();
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    let magic = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    [&lock_page[..], name, &length, &sum.to_be_bytes(), &magic].concat()
}

#[test]
fn journal_cannot_cause_the_removal_of_another_file() {
    let (directory, path) = directory("");
    let journal = crash(&path);
    let outside = TempDir::new().unwrap();
    // A super-journal without names: no journal refers to it, so a rollback removes it.
    let victim = outside.path().join("victim");
    fs::write(&victim, "\0").unwrap();
    assert_eq!(read_all(directory.path()).unwrap(), 1, "the journal is hot, and rolled back");
    let hot = fs::read(&journal).unwrap();
    fs::write(&journal, [&hot[..], &super_journal_record(&victim)].concat()).unwrap();
    let before = contents(directory.path());
    let error = read_all(directory.path());
    assert!(victim.exists(), "{error:?}");
    let error = error.unwrap_err();
    assert!(error.to_string().contains("chroma.sqlite3-journal"), "{error}");
    assert!(contents(directory.path()) == before);
}

/// SQLite opens a journal of 8 TB, and stops at the first invalid page.
#[test]
fn holes_are_not_copied() {
    let (directory, path) = directory("");
    let journal = crash(&path);
    File::options().write(true).open(&journal).unwrap().set_len(1 << 43).unwrap();
    assert_eq!(read_all(directory.path()).unwrap(), 1);
    fs::remove_file(&journal).unwrap();
    File::create(path.with_file_name("chroma.sqlite3-wal")).unwrap().set_len(1 << 43).unwrap();
    let error = read_all(directory.path());
    assert!(matches!(error, Err(Error::Sqlite { .. })) || error.is_ok(), "{error:?}");
}

#[test]
fn only_regular_files_are_accepted() {
    let outside = TempDir::new().unwrap();
    let elsewhere = outside.path().join("elsewhere");
    for name in [
        "chroma.sqlite3",
        "chroma.sqlite3-journal",
        "chroma.sqlite3-wal",
        "chroma-embeddings.parquet",
        "chroma-collections.parquet",
    ] {
        for kind in ["link", "dangling link", "pipe", "directory", "device"] {
            let (directory, path) = directory("");
            let file = directory.path().join(name);
            if name == "chroma.sqlite3" || name.ends_with(".parquet") {
                fs::rename(&path, &elsewhere).unwrap();
            }
            match kind {
                "link" => symlink(&elsewhere, &file).unwrap(),
                "dangling link" => symlink("/absent", &file).unwrap(),
                "pipe" => assert!(Command::new("mkfifo").arg(&file).status().unwrap().success()),
                "directory" => fs::create_dir(&file).unwrap(),
                // The closest to a device without being root.
                _ => symlink("/dev/zero", &file).unwrap(),
            }
            match read_all(directory.path()) {
                Err(Error::NotRegularFile { path }) => assert!(path.ends_with(name), "{name} {kind}"),
                other => panic!("{name} {kind}: {other:?}"),
            }
        }
    }
}

#[test]
fn views_and_virtual_tables_are_rejected() {
    for sql in [
        "alter table embeddings rename to e; create view embeddings as select * from e;",
        "drop table embeddings; create virtual table embeddings using fts5(id, segment_id, embedding_id, seq_id, created_at);",
        "drop table segment_metadata; create table segment_metadata (segment_id, key, str_value as (zeroblob(1e9)));",
        // A module that SQLite lacks is not loaded.
        "pragma writable_schema = on; insert into sqlite_schema values ('table', 'x', 'x', 0, 'create virtual table x using absent'); drop table max_seq_id;",
    ] {
        let (directory, _) = directory(sql);
        assert!(matches!(read_all(directory.path()), Err(Error::MissingSchema { .. })), "{sql}");
    }
    let sql = "create view v as with recursive n (x) as (select 1 union all select x + 1 from n) select max(x) from n;
        create trigger t after insert on embeddings begin select 1; end;
        create index i on embeddings (abs(id)) where segment_id > '';
        create index j on embeddings_queue (topic collate nocase, seq_id desc);
        analyze;";
    let (directory, _) = directory(sql);
    assert_eq!(read_all(directory.path()).unwrap(), 1);
}

/// Each of these would require a sort in memory, or a full scan for each range of records.
#[test]
fn tables_with_another_order_are_rejected() {
    for sql in [
        "drop table embeddings; create table embeddings (id, segment_id, embedding_id, seq_id, created_at);",
        "drop table embeddings; create table embeddings (id text primary key, segment_id, embedding_id, seq_id, created_at);",
        "drop table embeddings; create table embeddings (id integer primary key, segment_id, embedding_id, seq_id, created_at);",
        "drop table embedding_metadata; create table embedding_metadata (id, key, string_value, int_value, float_value);",
        "drop index embedding_metadata_array_id_key;",
    ] {
        let (directory, _) = directory(sql);
        let error = read_all(directory.path()).unwrap_err();
        let is_reported = match &error {
            Error::UnexpectedSchema { .. } => true,
            Error::Sqlite { source, .. } => source.to_string().contains("no such index"),
            _ => false,
        };
        assert!(is_reported, "{sql} {error}");
    }
}

/// Adds nine levels of pages above a b-tree. Each links sixty times to the one below, which results in 10^16 rows.
fn multiply(path: &Path, tree: &str) {
    let connection = Connection::open(path).unwrap();
    let query = format!(
        "select rootpage, type = 'table', (select page_count from pragma_page_count) from sqlite_schema where name = '{tree}'"
    );
    let (root, is_table, pages): (u32, bool, u32) =
        connection.query_row(&query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let update = format!(
        "pragma writable_schema = on; update sqlite_schema set rootpage = {} where name = '{tree}'",
        pages + 9
    );
    connection.execute_batch(&update).unwrap();
    drop(connection);
    let file = File::options().write(true).open(path).unwrap();
    for level in 1..=9 {
        let below = if level == 1 { root } else { pages + level - 1 };
        // A table's cell is the child page and a key; an index's has a row (1, 'k', 1) instead of the key.
        let cell = [&below.to_be_bytes()[..], if is_table { &[1] } else { b"\x07\x04\x01\x0f\x01\x01k\x01" }]
            .concat();
        let mut page = vec![0; 4096];
        let content = 4096 - 60 * cell.len();
        page[0] = if is_table { 5 } else { 2 };
        page[3..5].copy_from_slice(&60_u16.to_be_bytes());
        page[5..7].copy_from_slice(&(content as u16).to_be_bytes());
        page[8..12].copy_from_slice(&below.to_be_bytes());
        for number in 0..60 {
            let at = content + number * cell.len();
            page[12 + 2 * number..14 + 2 * number].copy_from_slice(&(at as u16).to_be_bytes());
            page[at..at + cell.len()].copy_from_slice(&cell);
        }
        file.write_all_at(&page, u64::from(pages + level - 1) * 4096).unwrap();
    }
    file.write_all_at(&(pages + 9).to_be_bytes(), 28).unwrap();
}

#[test]
fn pages_that_link_to_each_other_are_an_error() {
    for tree in [
        "collections",
        "databases",
        "segments",
        "segment_metadata",
        "collection_metadata",
        "max_seq_id",
        "embeddings",
        "embeddings_queue",
        "embeddings_queue_config",
        "migrations",
        "sqlite_autoindex_embedding_metadata_1",
        "embedding_metadata_array_id_key",
    ] {
        let (directory, path) = directory(
            "insert into embedding_metadata values (1, 'k', 'v', null, null, null);
             insert into embedding_metadata_array values (1, 'k', 'v', null, null, null);
             insert into collection_metadata values ('c', 'k', 'v', null, null, null);
             insert into segment_metadata values ('s', 'k', 'v', null, null, null);
             insert into max_seq_id values ('s', 1);
             insert into embeddings_queue_config values (1, '{}');
             insert into migrations values ('other', 1, '', '', '');
             insert into embeddings_queue (operation, topic, id) values (0, 'x/aaaaaaaa-0000-4000-8000-000000000001', 'log');",
        );
        multiply(&path, tree);
        let read = || -> Result<(), Error> {
            let directory = PersistDirectory::open(directory.path())?;
            directory.overview()?;
            directory.read(&directory.collections()[0], |_| std::ops::ControlFlow::Continue(()))?;
            Ok(())
        };
        match read() {
            Err(error @ Error::Sqlite { .. }) => {
                assert!(
                    error.source().unwrap().to_string().contains("expected"),
                    "{tree}: {:?}",
                    error.source()
                );
            }
            // One row, or a few thousand, of these tables suffice.
            other => assert!(
                other.is_ok() && ["migrations", "embeddings_queue_config"].contains(&tree),
                "{tree} {other:?}"
            ),
        }
    }
}
