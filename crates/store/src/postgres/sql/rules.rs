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
    let locks_rows =
        words.split(';').filter(|statement| statement.ends_with("for update")).any(|statement| {
            let condition = statement.rsplit_once(" where ").map_or("", |(_, condition)| condition);
            let key = condition.strip_prefix("id = ").and_then(|key| key.strip_suffix(" for update"));
            key.is_none_or(|key| key.contains(' ') || key.starts_with("any("))
        });
    let has_lock = words.contains("for update");
    let is_single = has_lock && !locks_rows && words.matches("for update").count() == ends(words);
    let mut broken = Vec::new();
    if words.contains("select from") {
        broken.push("a shard gets no statement without columns: write `select 1 from`");
    }
    if has_lock && !is_single && !OF_LOCAL_TABLES.contains(&name) {
        broken.push("rows of several shards are locked: lock `where id = $1`");
    }
    if words.contains("on conflict") && words.contains("now()") {
        broken.push("the shards have different times: pass the time as a value");
    }
    if words.contains("ctid") || words.contains("skip locked") {
        broken.push("no shard has it");
    }
    if words.matches("set local").count() > 0 && words.contains("select") {
        broken.push("a setting is in one message with a statement");
    }
    broken
}

/// How many statements end by locking a row.
fn ends(words: &str) -> usize {
    words.split(';').filter(|statement| statement.ends_with("for update")).count()
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
    ] {
        assert_eq!(broken(words, "t.sql").len(), count, "{words}");
    }
}
