//! Rows that PostgreSQL can store but no answer can show exactly: every such value of every column, each in a separate row,
//! in addition to rows without such values.

use crate::TestDatabase;

/// The tables of the old services without constraints: every column but the key may be NULL.
pub const NULLABLE_SCHEMA: &str = "
create extension if not exists vector;
create table queries (
    id uuid primary key, query_text text, embedding vector(384), theme text, metadata jsonb, created_at timestamp
);
create table evaluation_metrics (
    id uuid primary key, prompt text, embedding vector(384), metric_type text, metadata jsonb, created_at timestamp
);
create table llm_outputs (
    id uuid primary key, output_text text, embedding vector(384), model_id text, query text, theme text,
    metadata jsonb, created_at timestamp
);
create table evaluation_results (
    id varchar primary key, query_id varchar, query_text text, output_text text, model_id varchar, theme varchar,
    evaluation_prompt_id varchar, evaluation_prompt text, score float, judge_model varchar, timestamp timestamp,
    result_metadata json
);";

/// Rows of each of the services' tables.
pub const RECORDS: usize = PLAIN + TIMES.len() + JSONB.len() + NULLS;
/// Rows of `evaluation_results`.
pub const RESULTS: usize = PLAIN + TIMES.len() + JSON.len() + SCORES.len() + 1;

/// Rows without such values.
const PLAIN: usize = 3;
/// A row without a text, one without a category, and one with only its key and vector.
const NULLS: usize = 3;

const TIMES: [&str; 8] = [
    "'infinity'",
    "'-infinity'",
    "'294276-12-31 23:59:59.999999'",
    "'12000-01-01'",
    "'10000-01-01'",
    "'0001-12-31 23:00:00 BC'",
    "'4714-11-24 BC'",
    "null",
];

const JSONB: [&str; 13] = [
    "null",
    "'null'",
    "'[1, {\"a\": []}]'",
    "'\"x\"'",
    "'7'",
    "'{\"a\": 1e400, \"b\": -1e400, \"c\": 1e-400}'",
    "'{\"token\": 123456789012345678901234567890, \"exact\": 0.1234567890123456789012345, \"one\": 1.0, \"two\": 2}'",
    "'{\"$serde_json::private::Number\": \"x\", \"$serde_json::private::RawValue\": \"{\"}'",
    "(repeat('[', 300) || repeat(']', 300))::jsonb",
    "('{\"deep\": ' || repeat('{\"a\": ', 1000) || '1' || repeat('}', 1000) || ', \"n\": 1}')::jsonb",
    "'{\"panopticon:json\": \"{\\\"a\\\": 1, \\\"a\\\": 2}\"}'",
    "'{\"theme\": 5, \"metric_type\": null, \"timestamp\": [1], \"model_id\": {}, \"query\": true}'",
    "'{\"\": \"\", \"empty\": {}, \"list\": []}'",
];

const JSON: [&str; 12] = [
    r#"'{"raw": "a\ud83d"}'"#,
    r#"'{"\udead": ["\ude00\ud83d"], "status": "scored", "run_id": "x\ud83d"}'"#,
    r#"'{"nul": "\u0000"}'"#,
    r#"'{"a": 1, "a": {"b": 2, "b": 3}}'"#,
    r#"'{"a": 1e400, "b": 1E99999999, "c": -0.0, "d": 123456789012345678901234567890}'"#,
    r#"('{"deep": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::json"#,
    r#"'{"status": 3, "run_id": [1], "repeat": {"a": "b"}, "mode": "pairwise", "winner": 5, "swapped": "yes"}'"#,
    r#"'{"mode": "pairwise", "winner": "tie", "opponent": null, "run_id": "\u00e9", "out_of_range": 1}'"#,
    "'null'",
    "'\"x\"'",
    "'[]'",
    "null",
];

const SCORES: [&str; 4] = ["'NaN'", "'Infinity'", "'-Infinity'", "1e308"];

/// Inserts them into the tables, which may be ours or adopted ones.
pub async fn put_odd_rows(database: &TestDatabase) {
    let mut statements = String::new();
    for (table, text, columns) in [
        ("queries", "query_text", vec!["theme"]),
        ("evaluation_metrics", "prompt", vec!["metric_type"]),
        ("llm_outputs", "output_text", vec!["theme", "model_id", "query"]),
    ] {
        for column in columns.iter().chain([&text, &"created_at"]) {
            statements.push_str(&format!("alter table {table} alter {column} drop not null;\n"));
        }
        let mut number = 0;
        let mut row = |text_value: &str, category: &str, metadata: &str, time: &str| {
            number += 1;
            let more = if columns.len() > 1 { ", 'm', 'Why?'" } else { "" };
            statements.push_str(&format!(
                "insert into {table} (id, {text}, embedding, {}, metadata, created_at) values
    ('a0000000-0000-4000-8000-{number:012}', {text_value}, array_fill(0.05, array[384])::vector, {category}{more}, {metadata}, {time});\n",
                columns.join(", ")
            ));
        };
        let plain = "'2026-01-31 12:00:00.000137'";
        for _ in 0..PLAIN {
            row("'odd'", "'odd'", "'{\"n\": 1}'", plain);
        }
        TIMES.iter().for_each(|time| row("'odd'", "'odd'", "'{\"n\": 1}'", time));
        JSONB.iter().for_each(|metadata| row("'odd'", "'odd'", metadata, plain));
        row("null", "'odd'", "'{}'", plain);
        row("'odd'", "null", "'{}'", plain);
        row("null", "null", "null", "null");
    }
    let mut number = 0;
    let mut result = |score: &str, time: &str, metadata: &str| {
        number += 1;
        statements.push_str(&format!(
            "insert into evaluation_results (id, query_id, query_text, output_text, model_id, theme, evaluation_prompt_id,
        evaluation_prompt, score, judge_model, timestamp, result_metadata)
    values ('r{number:03}', 'q{number}', 'Why?', 'Because.', 'm', 'odd', 'p', 'Is it good?', {score}, 'gpt-4', {time}, {metadata});\n"
        ));
    };
    let plain = "'2026-01-31 12:00:00.000137'";
    for _ in 0..PLAIN {
        result("7", plain, "'{\"n\": 1}'");
    }
    TIMES.iter().for_each(|time| result("7", time, "'{\"n\": 1}'"));
    JSON.iter().for_each(|metadata| result("7", plain, metadata));
    SCORES.iter().for_each(|score| result(score, plain, "'{\"status\": \"scored\"}'"));
    statements.push_str("insert into evaluation_results (id) values ('');\n");
    database.execute(&statements).await;
}

/// A row of each bookkeeping table, with `TIME` in every time column.
const KEPT: [(&str, &[&str], &str); 12] = [
    ("models", &["created_at"], "(id, name, provider, is_judge_compatible, created_at) values ('odd NUMBER', 'm', 'openai', true, TIME)"),
    (
        "runs",
        &["created_at", "began_at"],
        "(id, plan, allowance, state, created_at, began_at, ended_at)
            values ('c0000000-0000-4000-8000-00000000000NUMBER', '{}', '{}', 'cancelled', TIME, TIME, TIME)",
    ),
    (
        "run_workers",
        &["lease_until"],
        "(run_id, worker, lease_until)
            values ('c0000000-0000-4000-8000-00000000000NUMBER', gen_random_uuid(), TIME)",
    ),
    (
        "run_attempts",
        &["began_at"],
        "(run_id, task, attempt, model_id, began_at, ended_at)
            values ('c0000000-0000-4000-8000-00000000000NUMBER', 1, 1, 'm', TIME, TIME)",
    ),
    (
        "migration_jobs",
        &["started_at", "changed_at"],
        "(id, run_id, collection_id, tenant, database, collection, source, table_name, definition, status, holder,
                created_table, started_at, changed_at)
            values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't', 'd', 'c', 's', 'gone', '{}', 'undone',
                gen_random_uuid(), false, TIME, TIME)",
    ),
    (
        "migration_rejects",
        &["created_at"],
        "(run_id, tenant, database, collection, source_id, reason, record, created_at)
            values (gen_random_uuid(), 't', 'd', 'c', '', 'r', '', TIME)",
    ),
    (
        "migration_groups",
        &["started_at", "changed_at"],
        "(id, source, placement, status, started_at, changed_at)
            values (gen_random_uuid(), 's', '{}', 'copying', TIME, TIME)",
    ),
    (
        "vector_index_settings",
        &["measured_at"],
        "(table_name, index_name, build, filtering, depth, candidates, target, recall, recall_low, latency_ms, sampled,
                rows, measured_at)
            values ('queries', 'odd NUMBER', 1, 'none', 10, 1, 0.98, 0.1, 0.1, 1, 1, 1, TIME)",
    ),
    (
        "vector_index_plans",
        &["started_at"],
        "(id, table_name, observed, plan, writes, started_at, ended_at)
            values (gen_random_uuid(), 'queries', '{}', '{}', 0, TIME, TIME)",
    ),
    (
        "vector_search_samples",
        &["searched_at"],
        "(id, table_name, filter_class, searched_at, embedding, wanted, returned, latency_ms)
            values (gen_random_uuid(), 'queries', 'none', TIME, array_fill(0.05::real, array[384]), 10, 10, 1)",
    ),
    (
        "vector_search_history",
        &["measured_at"],
        "(table_name, filter_class, measured_at, seconds, searches, wanted, returned, replayed, missing, recall,
                recall_low, recall_high, target, rows)
            values ('queries', 'none', TIME, 300, 100, 1000, 1000, 1000, 0, 0.1, 0.1, 0.1, 0.98, 1)",
    ),
    (
        "maintenance_actions",
        &["started_at"],
        "(id, table_name, action, reason, before, after, started_at, ended_at)
            values (gen_random_uuid(), 'queries', 'vacuum', 'r', '{}', '{\"dead_rows\": 1000000}', TIME, TIME)",
    ),
];

/// The bookkeeping tables, with the number of their time columns that do not allow NULL.
pub fn kept_tables() -> impl Iterator<Item = (&'static str, usize)> {
    KEPT.into_iter().map(|(table, required, _)| (table, required.len()))
}

/// Rows of each of them.
pub const KEPT_ROWS: usize = TIMES.len();

/// Inserts a row with each invalid time into each bookkeeping table of our schema.
pub async fn put_odd_times(database: &TestDatabase) {
    let mut statements =
        "alter table vector_search_history drop constraint vector_search_history_pkey;\n".to_owned();
    for (table, required, insert) in KEPT {
        for column in required {
            statements.push_str(&format!("alter table {table} alter {column} drop not null;\n"));
        }
        for (number, time) in TIMES.into_iter().enumerate() {
            let insert = insert.replace("NUMBER", &number.to_string()).replace("TIME", time);
            statements.push_str(&format!("insert into {table} {insert};\n"));
        }
    }
    database.execute(&statements).await;
}
