//! Rules for all statements, so that they also work where Citus distributes a table over several servers.

use std::{fs, path::Path};

/// Rows of several shards cannot be locked by one statement. These are about tables that are not distributed: those of a
/// database without Citus, and those of Chroma clients.
const OF_LOCAL_TABLES: [&str; 3] =
    ["lock_rows.sql", "lock_collection_records.sql", "delete_collection_records.sql"];

#[test]
fn golden_statements_work_on_distributed_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres/sql/golden");
    let mut problems = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder lists") {
        let path = entry.expect("the entry reads").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("the file reads");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        problems.extend(broken(&words, &name).into_iter().map(|rule| format!("{name}: {rule}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The rules that a statement breaks.
fn broken(words: &str, name: &str) -> Vec<&'static str> {
    let locks = words.matches("for update").count();
    let of_one_row = words.split(';').filter(|statement| locks_one_row(statement)).count();
    let mut broken = Vec::new();
    if words.contains("select from") {
        broken.push("a shard gets no statement without columns: write `select 1 from`");
    }
    if locks > of_one_row && !OF_LOCAL_TABLES.contains(&name) {
        broken.push("rows of several shards are locked: lock `where id = $1`");
    }
    if words.contains("on conflict") && words.contains("now()") {
        broken.push("the shards have different times: pass the time as a value");
    }
    if words.contains("ctid") || words.contains("skip locked") {
        broken.push("no shard has it");
    }
    let makes_json = words.contains("jsonb_build_object(") || words.contains("to_jsonb(");
    if words.starts_with("update ") && (words.contains(" case ") || words.contains("coalesce(")) && makes_json
    {
        broken.push(
            "Citus refuses functions that are not immutable in `case` and `coalesce`: pass JSON as a value",
        );
    }
    if words.contains("set local") && words.contains("select") {
        broken.push("a setting is in one message with a statement");
    }
    broken
}

/// Whether the statement ends by locking the row with one id.
fn locks_one_row(statement: &str) -> bool {
    let condition = statement.rsplit_once(" where ").map(|(_, condition)| condition);
    let key = condition.and_then(|condition| condition.strip_prefix("id = ")?.strip_suffix(" for update"));
    key.is_some_and(|key| !key.contains(' ') && !key.starts_with("any("))
}

#[test]
fn broken_rules_are_found() {
    for (words, count) in [
        ("select exists (select from t);", 1),
        ("select id from t where id = $1 for update;", 0),
        ("select id from t where id = '1' for update; select id from t where id = '2' for update;", 0),
        ("select id from t where id = any($1) order by id for update;", 1),
        ("select id from t where a = $1 for update;", 1),
        ("delete from t where id in (select id from t limit 1 for update);", 1),
        ("insert into t values (now()) on conflict (id) do nothing;", 1),
        ("set local a = 1; select 1 from t;", 1),
        (
            "update t set a = case when b then a || jsonb_build_object('k', $2::text) else a end where id = $1;",
            1,
        ),
        ("update t set a = case when b then a || $2::jsonb else a end where id = $1;", 0),
    ] {
        assert_eq!(broken(words, "t.sql").len(), count, "{words}");
    }
}
