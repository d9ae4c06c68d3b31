//! All golden statements, on distributed tables and on others.

use std::{fmt::Write as _, fs, path::Path};

use expect_test::expect_file;
use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use test_support::CitusDatabase;

#[tokio::test]
async fn golden_statements_end_on_distributed_tables_as_on_others() {
    let Some(citus) = CitusDatabase::create().await else { return };
    citus.distributed().await.close().await;
    let (test_database, database) = crate::prepared().await;
    database.close().await;
    let connect = async |url: &str| PgConnection::connect(url).await.expect("the database answers");
    let (mut on_plain, mut on_citus) = (connect(&test_database.url()).await, connect(&citus.url()).await);
    let mut failing = String::new();
    for name in names() {
        let codes = (code(&mut on_plain, &name).await, code(&mut on_citus, &name).await);
        if codes != (None, None) {
            let [plain, distributed] =
                [codes.0, codes.1].map(|code| code.unwrap_or_else(|| "runs".to_owned()));
            writeln!(failing, "{name}: {plain}, distributed: {distributed}").expect("a string takes all");
        }
    }
    // Those that fail everywhere lack what a test of one file has not. What fails only on distributed tables is about tables that
    // are not distributed, or is left out there.
    expect_file!["golden.txt"].assert_eq(&failing);
    for connection in [on_plain, on_citus] {
        connection.close().await.expect("the connection closes");
    }
    citus.remove().await;
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres/sql/golden")
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the folder lists");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the entry reads").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The statements of a golden file. None contains a semicolon otherwise than at its end.
fn statements(name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(name)).expect("the file reads");
    let statements = text.split(";\n").map(|statement| statement.trim().to_owned());
    statements.filter(|statement| !statement.is_empty()).collect()
}

/// The code of the first error of the statements `name`, which are undone.
async fn code(connection: &mut PgConnection, name: &str) -> Option<String> {
    // What statements about a collection and about staged rows need.
    let before: &[&str] = match name {
        "create_table.sql" | "create_shared_table.sql" => &[],
        "add_collection_columns.sql" => &["create_table.sql"],
        "create_staging.sql" => &["create_table.sql", "add_collection_columns.sql"],
        _ => &["create_table.sql", "add_collection_columns.sql", "create_staging.sql"],
    };
    let mut all: Vec<(String, bool)> = Vec::new();
    for before in before {
        all.extend(statements(before).into_iter().map(|statement| (statement, true)));
    }
    all.extend(statements(name).into_iter().map(|statement| (statement, false)));
    execute(connection, "begin").await.expect("a transaction begins");
    let mut code = None;
    for (statement, is_preparation) in all {
        if let Err(error) = run(connection, &statement).await {
            assert!(!is_preparation, "{name}: {error}");
            let found = error.as_database_error().and_then(|error| error.code());
            code = Some(found.unwrap_or_else(|| panic!("{name}: {error}")).into_owned());
            break;
        }
    }
    // Which prepared statements outlive.
    for statement in ["rollback", "deallocate all"] {
        execute(connection, statement).await.expect("the transaction ends");
    }
    code
}

async fn execute(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}

/// Runs a statement, whose values are NULL.
async fn run(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    if statement.ends_with("from stdin with (format binary)") {
        const EMPTY: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff";
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(EMPTY).await?;
        return copy.finish().await.map(drop);
    }
    if statement.starts_with("copy ") {
        return connection.copy_out_raw(statement).await?.try_for_each(async |_| Ok(())).await;
    }
    let places = (1..).take_while(|place| statement.contains(&format!("${place}"))).count();
    if places == 0 {
        return execute(connection, statement).await;
    }
    let (explain, statement) = match statement.strip_prefix("explain (format json)") {
        Some(statement) => ("explain (format json) ", statement),
        None => ("", statement),
    };
    execute(connection, &format!("prepare golden as {statement}")).await?;
    let nulls = vec!["null"; places].join(", ");
    execute(connection, &format!("{explain}execute golden ({nulls})")).await?;
    execute(connection, "deallocate golden").await
}
