//! Checks `.sqlx`, which verifies static statements at compile time, against PostgreSQL itself.

use std::{fs, path::Path};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
use test_support::TestDatabase;

/// All text of the folder's Rust and SQL files.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("the folder lists") {
        let path = entry.expect("the entry reads").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "sql") {
            text += &fs::read_to_string(path).expect("the file reads");
        }
    }
    text
}

/// That each statement has a file is checked when it is compiled.
#[tokio::test]
async fn types_of_static_statements_are_those_that_postgresql_gives() {
    let test_database = TestDatabase::prepared().await;
    let mut connection = test_database.connection().await;
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(&crate_folder.join("src"));
    let mut problems = Vec::new();
    let files = fs::read_dir(crate_folder.join("../../.sqlx")).expect("the folder lists");
    for file in files {
        let path = file.expect("the entry reads").path();
        let saved: Value = serde_json::from_slice(&fs::read(&path).expect("the file reads")).expect("JSON");
        let query = saved["query"].as_str().expect("a file has its statement");
        let problem = if sources.contains(query) {
            match connection.describe(AssertSqlSafe(query).into_sql_str()).await {
                Ok(described) => {
                    let described = serde_json::to_value(described).expect("a description is JSON");
                    (described != saved["describe"]).then(|| format!("PostgreSQL says {described}"))
                }
                Err(error) => Some(error.to_string()),
            }
        } else {
            Some("no source has this statement".to_owned())
        };
        problems.extend(problem.map(|problem| format!("{}: {problem}: {query}", path.display())));
    }
    assert!(problems.is_empty(), "run .ci/sqlx prepare:\n{}", problems.join("\n"));
}
