//! `panopticon maintain`: its output, its actions, and when it does nothing.

use std::time::Duration;

use serde_json::json;
use store::postgres::Database;
use test_support::TestDatabase;

use crate::{Run, json, run_on, run_with};

/// A database in which nine of ten rows of `queries` are dead.
pub(crate) async fn with_dead_rows() -> TestDatabase {
    let test_database = TestDatabase::prepared().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    test_database
        .execute(
            "alter table queries set (autovacuum_enabled = false);
            insert into queries (query_text, theme) select 'row ' || row, 'theme' from generate_series(1, 1000) row;
            delete from queries where query_text !~ '0$'",
        )
        .await;
    // A session reports its statistics when it ends, shortly afterwards.
    let is_reported = async {
        while database.table_health(&["queries".to_owned()]).await.expect("it reads")[0].dead_rows < 900 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_reported).await.expect("the dead rows are counted");
    database.close().await;
    test_database
}

async fn maintain(database: &TestDatabase, arguments: &[&str]) -> Run {
    run_on(database, &[&["maintain"], arguments].concat()).await
}

#[tokio::test]
async fn plan_is_printed_and_applied_and_then_empty() {
    let database = with_dead_rows().await;
    let plan = maintain(&database, &["--once", "--dry-run"]).await;
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.contains("queries: vacuum, because there are 900 dead rows"), "{plan:?}");
    assert!(plan.stdout.contains("autovacuum is off for it"), "{plan:?}");

    let once = maintain(&database, &["--once", "--json"]).await;
    assert_eq!(once.code, 0, "{once:?}");
    let done = &json(&once)["done"];
    assert_eq!(done.as_array().map(Vec::len), Some(1), "{once:?}");
    assert_eq!((&done[0]["action"], &done[0]["outcome"]), (&json!("vacuum"), &json!("done")));
    assert_eq!((&done[0]["before"]["dead_rows"], &done[0]["after"]["dead_rows"]), (&json!(900), &json!(0)));
    assert!(once.stderr.contains("queries: vacuum, because there are 900 dead rows"), "{once:?}");

    let again = maintain(&database, &["--once", "--table", "queries"]).await;
    assert_eq!((again.code, again.stdout.as_str()), (0, "nothing to do\n"), "{again:?}");
    let unknown = maintain(&database, &["--once", "--table", "nothing"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("table `nothing` is not maintained"), "{unknown:?}");
}

#[tokio::test]
async fn quiet_hours_and_another_process_prevent_maintenance() {
    let database = with_dead_rows().await;
    let now = time::OffsetDateTime::now_utc();
    // An hour that is neither now nor when the test ends.
    let later = |hours| format!("{:02}:00", (now.hour() + hours) % 24);
    let hours = format!("{}-{}", later(12), later(13));
    let url = database.url();
    let settings = [("DATABASE_URL", url.as_str()), ("MAINTENANCE_QUIET_HOURS", hours.as_str())];
    let quiet = run_with(&["maintain", "--once"], &settings).await;
    assert_eq!(quiet.code, 0, "{quiet:?}");
    let expected = "queries: skipped: vacuum waits for the quiet hours: there are 900 dead rows";
    assert!(quiet.stdout.contains(expected), "{quiet:?}");

    let other = Database::connect(&url).await.expect("the database answers");
    let lock = other.lock_maintenance().await.expect("it can be requested").expect("it is free");
    let refused = maintain(&database, &["--once"]).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("another process is maintaining this database"), "{refused:?}");
    lock.release().await.expect("it is released");
    let indexes = other.lock_indexes("queries").await.expect("no process builds");
    let failed = maintain(&database, &["--once"]).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stdout.contains("queries: vacuum: failed after"), "{failed:?}");
    indexes.release().await.expect("it is released");
    other.close().await;
}

#[tokio::test]
async fn settings_of_maintenance_are_checked() {
    for (name, value, expected) in [
        ("MAINTENANCE", "yes", "expected `on` or `off`"),
        ("MAINTENANCE_INTERVAL_SECONDS", "0", "expected a whole number from 1"),
        ("MAINTENANCE_BUDGET_SECONDS", "1h", "expected a whole number from 1"),
        ("MAINTENANCE_QUIET_HOURS", "22-6", "is `22-6`: expected hours in UTC such as 22:00-06:00"),
    ] {
        let ended = run_with(&["config"], &[(name, value)]).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(name) && ended.stderr.contains(expected), "{ended:?}");
    }
}
