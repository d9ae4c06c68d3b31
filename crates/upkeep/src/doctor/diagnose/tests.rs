//! Every finding, from constructed facts.

use expect_test::{Expect, expect};
use records::Service;
use store::postgres::{
    EmbeddingHealth, LastSearches, OddValues, OpenTransaction, ServerFacts, ServerSetting, Session,
    SettingSource, Table, TableFacts, Vectors,
    vector_index::{IndexDefinition, IndexKind, IndexState, Memory, Observation, Precision, VectorIndex},
};
use time::macros::datetime;

use super::*;
use crate::doctor::{EmbeddingComparison, IndexScanResult, MeasuredSearches};

const GIB: u64 = 1 << 30;

/// Checks the findings after `spoil` was applied to a healthy server with a healthy table of 20,000 rows.
fn check(spoil: impl FnOnce(&mut Examination), expected: Expect) {
    let mut examination = healthy();
    spoil(&mut examination);
    let lines: Vec<String> = diagnose(&examination, &Policy::default())
        .iter()
        .map(|finding| {
            let subject = finding.table.as_deref().unwrap_or("server");
            let Finding { severity, code, what, remedy, .. } = finding;
            let remedy = match remedy {
                Remedy::Command(text) | Remedy::Advice(text) => text.clone(),
                Remedy::Sql(statements) => statements.join("; "),
                Remedy::ForRows { advice, select } => format!("{advice}: {select}"),
            };
            format!("{} {code} {subject}: {what}\n    {remedy}", severity.as_str())
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

fn setting(name: &str, value: &str, bytes: Option<u64>) -> ServerSetting {
    ServerSetting { name: name.to_owned(), value: value.to_owned(), bytes, source: SettingSource::Server }
}

fn set(examination: &mut Examination, name: &str, value: &str, bytes: Option<u64>) {
    let found = examination.server.settings.iter_mut().find(|setting| setting.name == name);
    let found = found.expect("the setting is examined");
    (found.value, found.bytes) = (value.to_owned(), bytes);
}

fn healthy() -> Examination {
    let table = Table::of(Service::Query);
    let index = VectorIndex {
        name: "queries_panopticon_vector".to_owned(),
        definition: IndexDefinition {
            kind: IndexKind::Hnsw { m: 16, ef_construction: 200, ef_insert: 64 },
            precision: Precision::Full,
        },
        state: IndexState::Valid,
        service: store::postgres::vector_index::IndexUse::Searches,
        size_bytes: 40 << 20,
        build: 1,
        measured: vec![measured()],
    };
    let observation = Observation {
        table: table.clone(),
        rows: 20_000,
        dead_rows: 0,
        writes: 20_000,
        writes_per_second: None,
        table_bytes: 35 << 20,
        indexes: vec![index],
        memory: Memory {
            shared_buffers_bytes: 4 * GIB,
            cache_bytes: 8 * GIB,
            maintenance_bytes: GIB,
            machine_bytes: Some(16 * GIB),
        },
        cores: Some(2),
        pgvector: "0.8.7".to_owned(),
        is_iterative: true,
        exceeds_half: false,
        searches: Vec::new(),
        observed_at: datetime!(2026-02-01 12:00),
    };
    Examination {
        server: ServerFacts {
            address: "localhost:5432/panopticon".to_owned(),
            database: "panopticon".to_owned(),
            role: "judge".to_owned(),
            postgresql: "18.6".to_owned(),
            postgresql_number: 180_006,
            pgvector: Some("0.8.7".to_owned()),
            pgvector_package: Some("0.8.7".to_owned()),
            session: Session {
                encoding: "UTF8".to_owned(),
                role: "app".to_owned(),
                vectors: Vectors::Searched,
                has_citus: false,
                schema_version: None,
            },
            shared_memory_bytes: None,
            extensions: Vec::new(),
            settings: vec![
                setting("autovacuum", "on", None),
                setting("effective_cache_size", "8GB", Some(8 * GIB)),
                setting("fsync", "on", None),
                setting("full_page_writes", "on", None),
                setting("jit", "on", None),
                setting("jit_above_cost", "100000", None),
                setting("maintenance_work_mem", "1GB", Some(GIB)),
                setting("max_parallel_maintenance_workers", "2", None),
                setting("random_page_cost", "1.1", None),
                setting("seq_page_cost", "1", None),
                setting("shared_buffers", "4GB", Some(4 * GIB)),
                setting("track_counts", "on", None),
            ],
            can_compile: true,
            machine_bytes: Some(16 * GIB),
            is_standby: false,
            sees_sessions: true,
            unreadable: Vec::new(),
            oldest_transaction: None,
        },
        replicas: Vec::new(),
        tables: vec![TableExamination {
            table,
            facts: TableFacts {
                estimated_rows: Some(20_000),
                table_bytes: 35 << 20,
                index_bytes: 42 << 20,
                dead_rows: 300,
                tolerated_dead_rows: 4_050,
                last_vacuum: Some(datetime!(2026-01-30 12:00)),
                last_analyze: Some(datetime!(2026-01-31 12:00)),
                has_autovacuum: true,
                is_unlogged: false,
                age: 1_000,
                invalid_indexes: Vec::new(),
                is_readable: true,
                has_hidden_rows: false,
            },
            misfits: Vec::new(),
            indexes: Ok(observation),
            searches: Ok(Some(MeasuredSearches {
                without_distance: 0,
                sampled: 30,
                exact_ms: 21.0,
                by_index: Some(IndexScanResult {
                    index: "queries_panopticon_vector".to_owned(),
                    candidates: 45,
                    recall: 0.99,
                    recall_low: 0.98,
                    recall_high: 1.0,
                    latency_ms: 1.2,
                }),
            })),
            history: Ok(Vec::new()),
            embeddings: Ok(EmbeddingHealth {
                rows: 20_000,
                share: 1.0,
                missing: 0,
                zero: 0,
                unit: 20_000,
                lengths: Some((0.999_999, 1.000_001)),
                shared: 0,
            }),
            odd: Ok(OddValues {
                table: "queries".to_owned(),
                key: "id",
                rows: 20_000,
                share: 1.0,
                found: Vec::new(),
            }),
            recognised: Ok(Some(EmbeddingComparison { compared: 32, foreign: 0 })),
        }],
        absent: Vec::new(),
        collections: Ok(()),
        results: Ok(None),
        times: Ok(Vec::new()),
        hidden: Vec::new(),
    }
}

fn measured() -> store::postgres::vector_index::MeasuredSetting {
    store::postgres::vector_index::MeasuredSetting {
        filtering: store::postgres::vector_index::Filtering::None,
        depth: 10,
        candidates: 45,
        first_candidates: None,
        target: 0.98,
        recall: 0.99,
        recall_low: 0.985,
        latency_ms: 1.2,
        sampled: 100,
        rows: 20_000,
        measured_at: datetime!(2026-01-31 12:00),
    }
}

#[test]
fn healthy_database_has_no_finding() {
    check(|_| {}, expect![""]);
}

#[test]
fn versions() {
    check(
        |examination| {
            let server = &mut examination.server;
            (server.postgresql, server.postgresql_number) = ("13.20".to_owned(), 130_020);
            (server.pgvector, server.pgvector_package) = (None, None);
        },
        expect![[r#"
            error postgresql_too_old server: PostgreSQL 13.20 is too old for Panopticon, which needs 14 or newer
                upgrade PostgreSQL
            error pgvector_absent server: the server has no pgvector, so it cannot store vectors
                install the package of your system, on Debian and Ubuntu: apt install postgresql-13-pgvector"#]],
    );
    check(
        |examination| {
            let server = &mut examination.server;
            (server.postgresql, server.postgresql_number) = ("18.3".to_owned(), 180_003);
            // The package was upgraded, but not the database: the new library runs.
            server.pgvector = Some("0.7.4".to_owned());
        },
        expect![[r#"
            warning postgresql_unsafe server: PostgreSQL 18.3 has a bug that lets any role that can run statements take over the server (CVE-2026-6473)
                upgrade PostgreSQL to 18.4; no dump and restore is needed
            note pgvector_not_updated server: this database has the functions of pgvector 0.7.4, although 0.8.7 is installed: newer functions are missing
                alter extension vector update"#]],
    );
    let outdated = |version: &'static str| {
        move |examination: &mut Examination| examination.server.pgvector_package = Some(version.to_owned())
    };
    check(
        outdated("0.6.2"),
        expect![[r#"
        error pgvector_too_old server: pgvector 0.6.2 is too old for Panopticon, which needs 0.7 or newer
            upgrade the package (on Debian and Ubuntu postgresql-18-pgvector), then run `alter extension vector update` in this database"#]],
    );
    check(
        outdated("0.8.2"),
        expect![[r#"
        error pgvector_outdated server: pgvector 0.8.2: VACUUM can corrupt HNSW indexes, so that searches miss rows (fixed in 0.8.3); VACUUM of HNSW indexes can fail ("hnsw graph not repaired"), and so can inserts beside it (fixed in 0.8.4); a build of an IVFFlat index can write beyond its memory (issue 1036, fixed in 0.8.7)
            upgrade the package (on Debian and Ubuntu postgresql-18-pgvector), then run `alter extension vector update` in this database, and `reindex index concurrently` for each HNSW index"#]],
    );
    check(
        outdated("0.8.3"),
        expect![[r#"
        warning pgvector_outdated server: pgvector 0.8.3: VACUUM of HNSW indexes can fail ("hnsw graph not repaired"), and so can inserts beside it (fixed in 0.8.4); a build of an IVFFlat index can write beyond its memory (issue 1036, fixed in 0.8.7)
            upgrade the package (on Debian and Ubuntu postgresql-18-pgvector), then run `alter extension vector update` in this database"#]],
    );
    check(
        |examination| {
            outdated("0.7.4")(examination);
            examination.tables.clear();
        },
        expect![[r#"
            warning pgvector_outdated server: pgvector 0.7.4: a filtered index scan cannot continue after too few rows, so all matches are scanned exactly (fixed in 0.8.0); a parallel build of an HNSW index can expose data of other tables or crash the server (CVE-2026-3172, fixed in 0.8.2); VACUUM can corrupt HNSW indexes, so that searches miss rows (fixed in 0.8.3); VACUUM of HNSW indexes can fail ("hnsw graph not repaired"), and so can inserts beside it (fixed in 0.8.4); a build of an IVFFlat index can write beyond its memory (issue 1036, fixed in 0.8.7)
                upgrade the package (on Debian and Ubuntu postgresql-18-pgvector), then run `alter extension vector update` in this database"#]],
    );
}

#[test]
fn memory() {
    check(
        |examination| {
            set(examination, "shared_buffers", "64MB", Some(64 << 20));
            set(examination, "maintenance_work_mem", "16MB", Some(16 << 20));
            set(examination, "effective_cache_size", "1GB", Some(GIB));
        },
        expect![[r#"
            warning maintenance_memory_small server: `maintenance_work_mem` is 16MB: VACUUM may have to read each index several times, and an index may be built on disk, many times slower
                alter system set maintenance_work_mem = '1024MB'; select pg_reload_conf()
            warning shared_buffers_small server: `shared_buffers` is 64MB for 77MB of tables and indexes: searches repeatedly read pages from outside it
                run `alter system set shared_buffers = '4096MB'` and restart the server
            note cache_size_small server: `effective_cache_size` is 1GB: the planner assumes that little is cached and avoids indexes, and Panopticon plans smaller indexes if it does not know the machine's memory
                alter system set effective_cache_size = '8192MB'; select pg_reload_conf()"#]],
    );
    check(
        |examination| set(examination, "shared_buffers", "9GB", Some(9 * GIB)),
        expect![[r#"
            warning shared_buffers_large server: `shared_buffers` is 9GB of a machine with 16384MB: too little is left for index builds and the operating system's cache
                run `alter system set shared_buffers = '4096MB'` and restart the server
            note cache_size_small server: `effective_cache_size` is 8GB: the planner assumes that little is cached and avoids indexes, and Panopticon plans smaller indexes if it does not know the machine's memory
                alter system set effective_cache_size = '8192MB'; select pg_reload_conf()"#]],
    );
    // On a remote machine, only the settings are known.
    check(
        |examination| {
            examination.server.machine_bytes = None;
            set(examination, "shared_buffers", "64MB", Some(64 << 20));
            set(examination, "maintenance_work_mem", "16MB", Some(16 << 20));
            examination.server.settings[6].source = SettingSource::Connection;
        },
        expect![[r#"
            warning maintenance_memory_small server: `maintenance_work_mem` is 16MB: VACUUM may have to read each index several times, and an index may be built on disk, many times slower
                remove `maintenance_work_mem` from the options in the database's URL
            warning shared_buffers_small server: `shared_buffers` is 64MB for 77MB of tables and indexes: searches repeatedly read pages from outside it
                set it to a quarter of the server's memory (`alter system set shared_buffers = '…'`) and restart the server"#]],
    );
}

#[test]
fn other_settings() {
    check(
        |examination| {
            for name in ["autovacuum", "track_counts", "fsync", "full_page_writes"] {
                set(examination, name, "off", None);
            }
            set(examination, "max_parallel_maintenance_workers", "0", None);
            set(examination, "random_page_cost", "4", None);
            examination.server.settings[8].source = SettingSource::Role;
        },
        expect![[r#"
            error no_crash_safety server: `fsync` is off: a crash of the machine can leave the database unreadable
                alter system set fsync = 'on'; select pg_reload_conf()
            error no_crash_safety server: `full_page_writes` is off: a crash of the machine can leave the database unreadable
                alter system set full_page_writes = 'on'; select pg_reload_conf()
            warning autovacuum_off server: `autovacuum` is off: dead rows accumulate, tables and indexes grow, searches scan dead rows, and plans use old statistics
                alter system set autovacuum = 'on'; select pg_reload_conf()
            warning autovacuum_off server: `track_counts` is off: dead rows accumulate, tables and indexes grow, searches scan dead rows, and plans use old statistics
                alter system set track_counts = 'on'; select pg_reload_conf()
            note no_parallel_builds server: `max_parallel_maintenance_workers` is 0: programs other than Panopticon build indexes on a single core
                alter system set max_parallel_maintenance_workers = '2'; select pg_reload_conf()
            note random_page_cost_high server: `random_page_cost` is 4, which suits magnetic disks: the planner prefers sequential scans to index scans
                alter role "judge" reset random_page_cost"#]],
    );
    check(
        |examination| {
            let facts = &mut examination.tables[0].facts;
            (facts.estimated_rows, facts.table_bytes) = (Some(1_000_000), 2 * GIB);
        },
        expect![[r#"
            note searches_are_compiled server: `jit` is on, and an exact scan of the largest table costs more than `jit_above_cost`: it is compiled each time, although nearly all of its work is in pgvector, which is already compiled
                alter system set jit = 'off'; select pg_reload_conf()"#]],
    );
}

#[test]
fn sessions() {
    check(
        |examination| {
            let oldest = OpenTransaction { pid: 42, role: "reporter".to_owned(), seconds: 7_300 };
            examination.server.oldest_transaction = Some(oldest);
            examination.server.sees_sessions = false;
            examination.collections = Err(NotExamined::Privilege(String::new()));
        },
        expect![[r#"
            warning old_transaction server: a transaction of role `reporter` has been open for 121 minutes: VACUUM cannot remove rows deleted since then, and concurrent index builds wait
                select pg_terminate_backend(42)
            note not_seen server: not examined, because role `judge` may not: transactions of other roles, and their index builds, which look like failed ones
                grant pg_read_all_stats to "judge"
            note not_seen server: not examined, because role `judge` may not read `migration_jobs`: tables of collections other than the services'
                grant select on "migration_jobs" to "judge""#]],
    );
}

#[test]
fn maintenance_of_tables() {
    check(
        |examination| {
            let facts = &mut examination.tables[0].facts;
            (facts.has_autovacuum, facts.is_unlogged, facts.age) = (false, true, 1_200_000_000);
            (facts.dead_rows, facts.estimated_rows) = (9_000, None);
            facts.invalid_indexes = vec!["odd \"name\"".to_owned()];
            examination.server.sees_sessions = false;
        },
        expect![[r#"
            error table_unlogged queries: the table is unlogged: a crash of the server empties it
                alter table "queries" set logged
            error rows_not_frozen queries: VACUUM has not frozen its rows for 1200 million transactions: at 2,000 million the server rejects writes
                vacuum (freeze) "queries"
            warning table_autovacuum_off queries: autovacuum is off for the table: dead rows accumulate, it grows, and plans use old statistics
                alter table "queries" reset (autovacuum_enabled)
            warning dead_rows queries: 9000 dead rows: searches scan dead rows, and index scans lose recall; last vacuumed on 2026-01-30
                vacuum (analyze) "queries"
            warning never_analyzed queries: the table was never analysed: the planner guesses the selectivity of filters, which decides how searches are executed
                analyze "queries"
            warning index_invalid queries: the build of index `odd "name"` never finished: it takes space, slows down writes, and serves no queries (unless another role is building it)
                drop index concurrently "odd ""name"""
            note not_seen server: not examined, because role `judge` may not: transactions of other roles, and their index builds, which look like failed ones
                grant pg_read_all_stats to "judge""#]],
    );
    check(
        |examination| examination.tables[0].misfits = vec!["column `embedding` is missing".to_owned()],
        expect![[r#"
            error table_misfit queries: Panopticon cannot use the table: column `embedding` is missing
                if it belongs to another program, use a separate database for Panopticon; otherwise rename it (`alter table "queries" rename to "queries_old"`), and `panopticon migrate` or `panopticon serve` creates it"#]],
    );
}

#[test]
fn indexes_and_searches() {
    let observation = |examination: &mut Examination, change: &dyn Fn(&mut Observation)| {
        change(examination.tables[0].indexes.as_mut().expect("they were examined"));
    };
    check(
        |examination| observation(examination, &|observation| observation.indexes.clear()),
        expect![[r#"
            warning index_missing queries: no vector index for 20000 rows: every search is an exact scan, which currently takes 21 ms
                panopticon index apply --table queries"#]],
    );
    check(
        |examination| observation(examination, &|observation| observation.indexes[0].measured.clear()),
        expect![[r#"
            note settings_not_measured queries: the search parameters of index `queries_panopticon_vector` are not known to meet the recall target: they were never measured
                panopticon index apply --table queries"#]],
    );
    check(
        |examination| {
            observation(examination, &|observation| {
                observation.indexes[0].definition.kind = IndexKind::Ivfflat { lists: 1 };
            });
        },
        expect![[r#"
            note index_not_as_planned queries: its vector index differs from the planned one, hnsw with m 16, ef_construction 200 (inserts with 64): hnsw reaches the recall of ivfflat in a fraction of the time
                panopticon index apply --table queries"#]],
    );
    check(
        |examination| {
            observation(examination, &|observation| observation.indexes[0].state = IndexState::Building);
        },
        expect![[r#"
            note index_building queries: index `queries_panopticon_vector` is being built
                panopticon index status"#]],
    );
    check(
        |examination| {
            examination.tables[0].table.name = "odd 'name'".to_owned();
            let Ok(Some(searches)) = &mut examination.tables[0].searches else { panic!("they were made") };
            let found = searches.by_index.as_mut().expect("there is an index");
            (found.recall, found.recall_low, found.recall_high) = (0.5, 0.4, 0.6);
            let last = |filter_class: &str, recall, recall_high| LastSearches {
                filter_class: filter_class.to_owned(),
                measured_at: datetime!(2026-01-31 12:05),
                searches: 1_000,
                latency_p50_ms: Some(1.0),
                latency_p99_ms: Some(2.0),
                recall,
                recall_high,
                target: 0.98,
            };
            examination.tables[0].history = Ok(vec![
                last("none", Some(0.9), Some(0.95)),
                last("category", Some(0.97), Some(0.99)),
                last("text", None, None),
            ]);
        },
        expect![[r#"
            warning recall_low odd 'name': index scans of `queries_panopticon_vector` return 50.0 % of the ten nearest rows, significantly less than the target of 98.0 %, in 30 just measured
                panopticon index tune --table 'odd '\''name'\'''
            warning recall_of_searches_low odd 'name': real searches without a filter returned 90.0 % of the nearest rows, less than the target of 98.0 %, until 2026-01-31 12:05 UTC
                panopticon index apply --table 'odd '\''name'\'''"#]],
    );
}

#[test]
fn embeddings() {
    check(
        |examination| {
            examination.tables[0].embeddings = Ok(EmbeddingHealth {
                rows: 20_000,
                share: 0.25,
                missing: 1,
                zero: 2,
                unit: 19_990,
                lengths: Some((0.5, 17.25)),
                shared: 20,
            });
            examination.tables[0].recognised = Ok(Some(EmbeddingComparison { compared: 32, foreign: 1 }));
        },
        expect![[r#"
            warning embeddings_missing queries: 1 of a sample of 20000 rows has no vector: vector searches never return it
                send each of these its own text again: PATCH /api/v1/queries/ID {"query": "…"} embeds it: select id, "query_text" from "queries" where embedding is null
            warning embeddings_zero queries: 2 of a sample of 20000 rows have a zero vector, for which the cosine distance is undefined: no index contains them, and searches return them last
                send each of these its own text again: PATCH /api/v1/queries/ID {"query": "…"} embeds it: select id, "query_text" from "queries" where vector_norm(embedding) = 0
            warning embeddings_unnormalised queries: 7 of a sample of 20000 rows have a vector whose norm is not 1 (0.500 to 17.250), unlike all vectors of all-MiniLM-L6-v2: another model computed them, and their search results are meaningless
                send each of these its own text again: PATCH /api/v1/queries/ID {"query": "…"} embeds it: select id, "query_text" from "queries" where abs(vector_norm(embedding) - 1) > 0.001 and vector_norm(embedding) > 0
            warning embeddings_of_another_model queries: of 32 compared rows, 1 has a vector that differs from what all-MiniLM-L6-v2 computes from its text: another model computed it, or the text was changed without it
                send each row its own text again: PATCH /api/v1/queries/ID {"query": "…"} embeds it
            note embeddings_shared queries: 20 of a sample of 20000 rows have exactly the same vector as a row with another text (texts with the same first 200 characters count as equal): searches cannot distinguish such rows
                select array_agg(id), array_agg(left("query_text", 60)) from "queries" where embedding is not null group by embedding having count(distinct lower(left("query_text", 200))) > 1"#]],
    );
    check(
        |examination| {
            let examined = &mut examination.tables[0];
            examined.table = Table::of(Service::Judge);
            let health = examined.embeddings.as_mut().expect("they were examined");
            (health.zero, health.unit, health.shared) = (1, 19_999, 200);
        },
        expect![[r#"
            warning embeddings_zero llm_outputs: 1 of 20000 rows has a zero vector, for which the cosine distance is undefined: no index contains it, and searches return it last
                send each of these its own text again: PATCH /api/v1/outputs/ID {"output": "…"} embeds it: select coalesce(source_id, id::text) as id, "output_text" from "llm_outputs" where vector_norm(embedding) = 0
            warning embeddings_shared llm_outputs: 200 of 20000 rows have exactly the same vector as a row with another text (texts with the same first 200 characters count as equal): searches cannot distinguish such rows
                select array_agg(id), array_agg(left("output_text", 60)) from "llm_outputs" where embedding is not null group by embedding having count(distinct lower(left("output_text", 200))) > 1"#]],
    );
}

#[test]
fn parts_that_were_not_examined() {
    check(
        |examination| {
            let examined = &mut examination.tables[0];
            let hidden = |object: &str| NotExamined::Privilege(object.to_owned());
            (examined.indexes, examined.searches) = (Err(hidden("a")), Err(hidden("b")));
            examined.embeddings = Err(NotExamined::TooSlow(std::time::Duration::from_secs(10)));
            examined.recognised = Err(NotExamined::NoModel);
            examined.facts.is_readable = false;
            examination.server.unreadable = vec!["migration_jobs".to_owned()];
        },
        expect![[r#"
            note not_seen queries: not examined, because the role may not read it: its vector indexes, the recall of searches
                grant select on "queries", "migration_jobs" to "judge"
            note not_seen queries: not examined, because it took longer than 10 seconds: its embeddings
                run it again while the server is less busy
            note not_seen queries: not examined, because the model is not on this machine: whether its vectors match its texts
                `panopticon search` and `panopticon serve` download the model; or name the folder of your own copy"#]],
    );
}

#[test]
fn unsuitable_databases() {
    let odd = |change: fn(&mut Session)| {
        move |examination: &mut Examination| change(&mut examination.server.session)
    };
    check(
        odd(|session| session.encoding = "LATIN1".to_owned()),
        expect![[r#"
            error encoding_not_utf8 server: the database's encoding is LATIN1, which cannot represent every text: Panopticon requires UTF8, and stores nothing here
                create another one with `create database … encoding 'UTF8' template template0`, move the data by pg_dump, and use that"#]],
    );
    check(
        odd(|session| session.encoding = "SQL_ASCII".to_owned()),
        expect![[r#"
            error encoding_not_utf8 server: the database's encoding is SQL_ASCII, which does not validate texts: Panopticon requires UTF8, stores nothing here, and examined no table
                create another one with `create database … encoding 'UTF8' template template0`, move the data by pg_dump, and use that"#]],
    );
    let schema = || "extensions".to_owned();
    check(
        odd(|session| {
            let searched = vec!["public".to_owned()];
            session.vectors = Vectors::Elsewhere { schema: "extensions".to_owned(), searched };
        }),
        expect![[r#"
            note pgvector_not_searched server: pgvector is in schema `extensions`, which is not in the search_path of role `app`: Panopticon's transactions add it, but other programs of the role do not find its types
                alter role "app" set search_path = "$user", public, "extensions""#]],
    );
    check(
        odd(|session| session.vectors = Vectors::Forbidden { schema: "extensions".to_owned() }),
        expect![[r#"
            error pgvector_forbidden server: pgvector is in schema `extensions`, which role `app` may not use: vectors can be neither stored nor searched, and no table was examined
                grant usage on schema "extensions" to "app""#]],
    );
    check(
        move |examination| {
            let by = "public".to_owned();
            examination.server.session.vectors = Vectors::Hidden { schema: schema(), by };
        },
        expect![[r#"
            error pgvector_hidden server: a type of schema `public` hides pgvector's, which is in schema `extensions`: vectors can be neither stored nor searched, and no table was examined
                rename it: a table named `vector` or `halfvec` creates such a type"#]],
    );
    check(
        |examination| examination.tables[0].facts.has_hidden_rows = true,
        expect![[r#"
            warning rows_hidden queries: row-level security limits which rows role `judge` sees: searches return only those, and `panopticon migrate` and `verify` reject the table
                use the role that owns the table, or one with BYPASSRLS (`alter role "judge" bypassrls`), or run `alter table "queries" disable row level security`"#]],
    );
    check(
        |examination| examination.hidden = vec!["queries".to_owned(), "runs".to_owned()],
        expect![[r#"
            warning rows_hidden runs: row-level security limits which rows role `judge` sees, and Panopticon treats these as all rows
                use the role that owns the table, or one with BYPASSRLS (`alter role "judge" bypassrls`), or run `alter table "runs" disable row level security`"#]],
    );
}

#[test]
fn shared_memory_too_small_for_parallel_builds() {
    check(|examination| examination.server.shared_memory_bytes = Some(64 << 20), expect![""]);
    check(
        |examination| {
            examination.server.shared_memory_bytes = Some(64 << 20);
            let name = "dynamic_shared_memory_type".to_owned();
            let value = "posix".to_owned();
            let setting = ServerSetting { name, value, bytes: None, source: SettingSource::Server };
            examination.server.settings.push(setting);
        },
        expect![[r#"
            note shared_memory_small server: /dev/shm has 64MB: an index whose parallel build needs more is built without parallel workers, which takes longer
                give the server's container more: `docker run --shm-size=1g`, or `shm_size: 1g` in compose"#]],
    );
}
