//! Databases with the tables of the first and the last supported version of Chroma (FORMAT §2), created once.

use std::{cell::OnceCell, fs, path::Path};

use rusqlite::Connection;

/// The smallest page size of SQLite, so that changes hit structure more often than text.
const PAGES: &str = "pragma page_size = 512;";

const OLD_TABLES: &str = include_str!("../../testdata/tables-0.4.0.sql");
const NEW_TABLES: &str = include_str!("../../testdata/tables-1.5.9.sql");

const OLD: &str = "
    insert into collections values
        ('aaaaaaaa-0000-4000-8000-000000000001', 'a', 'persistent://default/default/aaaaaaaa-0000-4000-8000-000000000001', 2),
        ('aaaaaaaa-0000-4000-8000-000000000002', 'b', 'persistent://default/default/aaaaaaaa-0000-4000-8000-000000000002', null);";

const NEW: &str = "
    insert into tenants values ('default_tenant');
    insert into databases values ('00000000-0000-0000-0000-000000000000', 'default_database', 'default_tenant');
    insert into collections values
        ('aaaaaaaa-0000-4000-8000-000000000001', 'a', 2, '00000000-0000-0000-0000-000000000000',
            '{\"vector_index\":{\"hnsw\":{\"space\":\"cosine\"}}}', null),
        ('aaaaaaaa-0000-4000-8000-000000000002', 'b', null, '00000000-0000-0000-0000-000000000000', '{}', '{}');";

const SEGMENTS: &str = "
    insert into segments (id, type, scope, collection) values
        ('bbbbbbbb-0000-4000-8000-000000000001', 'urn:chroma:segment/metadata/sqlite', 'METADATA',
            'aaaaaaaa-0000-4000-8000-000000000001'),
        ('bbbbbbbb-0000-4000-8000-000000000002', 'urn:chroma:segment/metadata/sqlite', 'METADATA',
            'aaaaaaaa-0000-4000-8000-000000000002'),
        ('cccccccc-0000-4000-8000-000000000001', 'urn:chroma:segment/vector/hnsw-local-persisted', 'VECTOR',
            'aaaaaaaa-0000-4000-8000-000000000001'),
        ('cccccccc-0000-4000-8000-000000000002', 'urn:chroma:segment/vector/hnsw-local-persisted', 'VECTOR',
            'aaaaaaaa-0000-4000-8000-000000000002');";

/// Records, metadata of each type and log rows, for targets that change the file instead of the rows.
const ROWS: &str = "
    insert into embeddings (id, segment_id, embedding_id, seq_id, created_at)
        select value, 'bbbbbbbb-0000-4000-8000-00000000000' || (1 + value % 2), 'id' || value, value, '2026-01-01 00:00:00'
        from (with recursive n (value) as (select 1 union all select value + 1 from n where value < 12) select * from n);
    insert into embedding_metadata (id, key, string_value) select id, 'chroma:document', 'document ' || id from embeddings;
    insert into embedding_metadata (id, key, int_value) select id, 'i', id from embeddings;
    insert into embedding_metadata (id, key, float_value) select id, 'f', id / 7.0 from embeddings;
    insert into embeddings_queue (seq_id, created_at, operation, topic, id, vector, encoding, metadata)
        select id, created_at, 0, 'persistent://default/default/aaaaaaaa-0000-4000-8000-00000000000' || (1 + id % 2),
            embedding_id, x'0000803f00000040', 'FLOAT32', '{\"chroma:document\":\"document\"}' from embeddings;
    insert into embeddings_queue (created_at, operation, topic, id, metadata) select created_at, 2, topic,
        'log' || seq_id, '{\"k\":1,\"l\":[1,2]}' from embeddings_queue;
    insert into max_seq_id values ('bbbbbbbb-0000-4000-8000-000000000001', 12), ('bbbbbbbb-0000-4000-8000-000000000002', 11);
    insert into collection_metadata (collection_id, key, str_value) select id, 'hnsw:space', 'cosine' from collections;";

thread_local! {
    static MADE: [OnceCell<Vec<u8>>; 3] = const { [OnceCell::new(), OnceCell::new(), OnceCell::new()] };
}

/// The version of the tables, and whether they have rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tables {
    /// Of Chroma 0.4.0, two collections and no row.
    Old,
    /// Of Chroma 1.5, two collections and no row.
    New,
    /// Of Chroma 1.5, with rows of each kind.
    Filled,
}

/// The bytes of the database.
pub(super) fn file(tables: Tables, folder: &Path) -> Vec<u8> {
    MADE.with(|made| made[tables as usize].get_or_init(|| make(tables, &folder.join("made"))).clone())
}

fn make(tables: Tables, path: &Path) -> Vec<u8> {
    let connection = Connection::open(path).expect("the folder is ours");
    let parts = match tables {
        Tables::Old => [PAGES, OLD_TABLES, OLD, SEGMENTS, ""],
        Tables::New => [PAGES, NEW_TABLES, NEW, SEGMENTS, ""],
        Tables::Filled => [PAGES, NEW_TABLES, NEW, SEGMENTS, ROWS],
    };
    connection.execute_batch(&parts.concat()).expect("it is SQL");
    drop(connection);
    let file = fs::read(path).expect("it was just made");
    fs::remove_file(path).expect("the folder is ours");
    file
}
