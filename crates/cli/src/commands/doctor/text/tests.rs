//! The whole report.

use std::time::Duration;

use expect_test::expect;
use records::Service;
use store::postgres::{
    Lag, OddValues, ServerSetting, Session, SettingSource, StandbySettings, Table, TableFacts, Vectors,
    vector_index::{IndexDefinition, IndexKind, IndexState, Memory, Observation, Precision, VectorIndex},
};
use time::macros::datetime;
use upkeep::{
    Policy,
    doctor::{EmbeddingComparison, NotExamined, diagnose},
};

use super::*;

fn setting(name: &str, megabytes: u64) -> ServerSetting {
    ServerSetting {
        name: name.to_owned(),
        value: format!("{megabytes}MB"),
        bytes: Some(megabytes << 20),
        source: SettingSource::Server,
    }
}

fn server() -> ServerFacts {
    ServerFacts {
        address: "db.example:5432/panopticon".to_owned(),
        database: "panopticon".to_owned(),
        role: "judge".to_owned(),
        postgresql: "18.6".to_owned(),
        postgresql_number: 180_006,
        pgvector: Some("0.8.3".to_owned()),
        pgvector_package: Some("0.8.3".to_owned()),
        session: Session {
            encoding: "UTF8".to_owned(),
            role: "app".to_owned(),
            vectors: Vectors::Searched,
            has_citus: false,
            schema_version: None,
        },
        shared_memory_bytes: None,
        extensions: vec![("pg_stat_statements".to_owned(), "1.12".to_owned())],
        settings: vec![
            setting("effective_cache_size", 8192),
            setting("maintenance_work_mem", 16),
            setting("shared_buffers", 4096),
        ],
        can_compile: true,
        machine_bytes: Some(16 << 30),
        is_standby: false,
        sees_sessions: true,
        unreadable: Vec::new(),
        oldest_transaction: None,
    }
}

fn facts() -> TableFacts {
    TableFacts {
        estimated_rows: Some(20_000),
        table_bytes: 35 << 20,
        index_bytes: 42 << 20,
        dead_rows: 12_345,
        tolerated_dead_rows: 4_050,
        last_vacuum: None,
        last_analyze: Some(datetime!(2026-01-31 12:00)),
        has_autovacuum: true,
        is_unlogged: false,
        age: 1_000,
        invalid_indexes: Vec::new(),
        is_readable: true,
        has_hidden_rows: false,
    }
}

fn replica() -> ServerState {
    ServerState {
        address: "standby.example:5432/panopticon".to_owned(),
        is_replica: true,
        problem: None,
        lag: Some(Lag { bytes: 16 << 20, time: Duration::from_secs(2) }),
        settings: Some(StandbySettings {
            hot_standby_feedback: true,
            max_standby_streaming_delay: "30s".to_owned(),
        }),
        reads: 0,
        passed_on: 0,
    }
}

fn indexed() -> TableExamination {
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
        measured: Vec::new(),
    };
    let observation = Observation {
        table: table.clone(),
        rows: 20_000,
        dead_rows: 12_345,
        writes: 32_345,
        writes_per_second: None,
        table_bytes: 35 << 20,
        indexes: vec![index],
        memory: Memory {
            shared_buffers_bytes: 4 << 30,
            cache_bytes: 8 << 30,
            maintenance_bytes: 16 << 20,
            machine_bytes: Some(16 << 30),
        },
        cores: Some(2),
        pgvector: "0.8.3".to_owned(),
        is_iterative: true,
        exceeds_half: false,
        searches: Vec::new(),
        observed_at: datetime!(2026-02-01 12:00),
    };
    TableExamination {
        table,
        facts: facts(),
        misfits: Vec::new(),
        indexes: Ok(observation),
        searches: Ok(Some(MeasuredSearches {
            without_distance: 0,
            sampled: 30,
            exact_ms: 21.04,
            by_index: Some(IndexScanResult {
                index: "queries_panopticon_vector".to_owned(),
                candidates: 80,
                recall: 0.8,
                recall_low: 0.75,
                recall_high: 0.85,
                latency_ms: 1.24,
            }),
        })),
        history: Ok(vec![LastSearches {
            filter_class: "category".to_owned(),
            measured_at: datetime!(2026-01-31 12:05),
            searches: 1_234,
            latency_p50_ms: Some(1.5),
            latency_p99_ms: Some(9.0),
            recall: Some(0.99),
            recall_high: Some(1.0),
            target: 0.98,
        }]),
        embeddings: Ok(EmbeddingHealth {
            rows: 20_000,
            share: 1.0,
            missing: 3,
            zero: 0,
            unit: 19_997,
            lengths: Some((1.0, 1.0)),
            shared: 2,
        }),
        odd: Ok(OddValues {
            table: "queries".to_owned(),
            key: "id",
            rows: 20_000,
            share: 1.0,
            found: Vec::new(),
        }),
        recognised: Ok(Some(EmbeddingComparison { compared: 32, foreign: 0 })),
    }
}

fn unreadable() -> TableExamination {
    let hidden = || NotExamined::Privilege(String::new());
    TableExamination {
        table: Table { name: "articles\u{1b}[31m".to_owned(), ..Table::of(Service::Query) },
        facts: TableFacts {
            dead_rows: 0,
            last_vacuum: None,
            last_analyze: None,
            is_readable: false,
            ..facts()
        },
        misfits: Vec::new(),
        indexes: Err(hidden()),
        searches: Err(hidden()),
        history: Ok(Vec::new()),
        embeddings: Err(hidden()),
        odd: Err(hidden()),
        recognised: Ok(None),
    }
}

#[test]
fn report_has_all_facts_and_findings_within_its_width() {
    let examination = Examination {
        replicas: vec![replica()],
        server: server(),
        tables: vec![unreadable(), indexed()],
        absent: vec!["llm_outputs".to_owned()],
        collections: Ok(()),
        results: Ok(None),
        times: Ok(Vec::new()),
        hidden: Vec::new(),
    };
    let findings = diagnose(&examination, &Policy::default());
    expect![[r#"
        db.example:5432/panopticon as judge: PostgreSQL 18.6, pgvector 0.8.3
          shared_buffers 4096MB, effective_cache_size 8192MB, maintenance_work_mem 16MB,
          of a machine with 17.2 GB
          other extensions: pg_stat_statements 1.12
          replica standby.example:5432/panopticon: 2 s (16.8 MB) behind;
            hot_standby_feedback on, max_standby_streaming_delay 30s

        articles\u{1b}[31m: about 20,000 rows, 36.7 MB, indexes 44.0 MB
          searches now  not examined: the role may not read it
          maintenance   0 dead rows; VACUUM never, ANALYZE never (UTC)
          embeddings    not examined: the role may not read it

        queries: 20,000 rows, 36.7 MB, indexes 44.0 MB
          vector index  queries_panopticon_vector, hnsw with m 16, ef_construction 200
                        (inserts with 64), 41.9 MB
          searches now  recall 0.800 (0.750 to 0.850) in 1.2 ms with 80 candidates;
                        exact in 21.0 ms (medians of 30)
          recent        recall 0.990, half within 1.5 ms, 99 % within 9.0 ms; filters:
                        category; 1,234 searches until 2026-01-31 12:05 (UTC)
          maintenance   12,345 dead rows; VACUUM never, ANALYZE 2026-01-31 12:00 (UTC)
          embeddings    of all rows: 3 missing, 2 shared with another text
                        32 of 32 checked equal the embedding of their text by
                        all-MiniLM-L6-v2

        not created yet: llm_outputs; `panopticon serve` and `panopticon migrate` create
          what they need

        warning: pgvector 0.8.3: VACUUM of HNSW indexes can fail ("hnsw graph not
          repaired"), and so can inserts beside it (fixed in 0.8.4); a build of an
          IVFFlat index can write beyond its memory (issue 1036, fixed in 0.8.7)
          [pgvector_outdated]
          do: upgrade the package (on Debian and Ubuntu postgresql-18-pgvector), then
          run `alter extension vector update` in this database

        warning: `maintenance_work_mem` is 16MB: VACUUM may have to read each index
          several times, and an index may be built on disk, many times slower
          [maintenance_memory_small]
          sql: alter system set maintenance_work_mem = '1024MB';
          sql: select pg_reload_conf();

        warning: queries: 12345 dead rows and 20000 live rows: searches scan dead rows,
          and index scans lose recall; never vacuumed [dead_rows]
          sql: vacuum (analyze) "queries";

        warning: queries: index scans of `queries_panopticon_vector` return 80.0 % of
          the ten nearest rows, significantly less than the target of 98.0 %, in 30 just
          measured [recall_low]
          run: panopticon index tune --table queries

        warning: queries: 3 of 20000 rows have no vector: vector searches never return
          them [embeddings_missing]
          do: send each of these its own text again: PATCH /api/v1/queries/ID {"query":
          "…"} embeds it
          sql: select id, "query_text" from "queries" where embedding is null;

        note: articles\u{1b}[31m: not examined, because the role may not read it: its
          vector indexes, the recall of searches, its embeddings, its invalid values
          [not_seen]
          sql: grant select on "articles\u{1b}[31m" to "judge";

        note: queries: the search parameters of index `queries_panopticon_vector` are
          not known to meet the recall target: they were never measured
          [settings_not_measured]
          run: panopticon index apply --table queries

        note: queries: 2 of 20000 rows have exactly the same vector as a row with
          another text (texts with the same first 200 characters count as equal):
          searches cannot distinguish such rows [embeddings_shared]
          sql: select array_agg(id), array_agg(left("query_text", 60)) from "queries" where embedding is not null group by embedding having count(distinct lower(left("query_text", 200))) > 1;

        Something is wrong: 5 warnings, 3 notes."#]].assert_eq(&screen(&examination, &findings, 80));
    let narrow = screen(&examination, &findings, 60);
    let is_copied = |line: &&str| line.starts_with("  sql: ") || line.starts_with("  run: ");
    assert!(
        narrow.lines().filter(|line| !is_copied(line)).all(|line| line.chars().count() <= 60),
        "{narrow}"
    );
}

#[test]
fn empty_and_healthy_databases_say_so() {
    let server = ServerFacts {
        pgvector: None,
        pgvector_package: Some("0.8.7".to_owned()),
        settings: Vec::new(),
        ..server()
    };
    let absent = vec!["evaluation_metrics".to_owned(), "llm_outputs".to_owned(), "queries".to_owned()];
    let examination = Examination {
        replicas: Vec::new(),
        server,
        tables: Vec::new(),
        absent,
        collections: Ok(()),
        results: Ok(None),
        times: Ok(Vec::new()),
        hidden: Vec::new(),
    };
    let findings = diagnose(&examination, &Policy::default());
    expect![[r#"
        db.example:5432/panopticon as judge: PostgreSQL 18.6, pgvector 0.8.7 installed,
          but not created in this database yet
          of a machine with 17.2 GB
          other extensions: pg_stat_statements 1.12

        not created yet: evaluation_metrics, llm_outputs, queries; `panopticon serve`
          and `panopticon migrate` create what they need

        Nothing is wrong."#]]
    .assert_eq(&screen(&examination, &findings, 80));
}
