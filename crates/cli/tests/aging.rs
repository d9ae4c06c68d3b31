//! `panopticon serve` maintains an ageing table unattended: new rows do not fit the lists of its index, half of the old
//! rows are deleted, and maintenance restores the recall.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::PgConnection;
use store::postgres::Database;
use test_support::{TestDatabase, count};

use crate::{
    json, run_on,
    serve::{Serving, blocking},
};

const PATIENCE: Duration = Duration::from_secs(420);
const POLL: Duration = Duration::from_millis(200);
const TARGET: f64 = 0.98;
const SETTINGS: [(&str, &str); 4] = [
    ("VECTOR_INDEX_TYPE", "ivfflat"),
    ("VECTOR_MONITOR_INTERVAL_SECONDS", "6"),
    ("VECTOR_MONITOR_REPLAYS", "20"),
    ("MAINTENANCE_INTERVAL_SECONDS", "2"),
];

/// Number of distances from the axes at which rows are added, 4,464 rows each: for each change, and at night.
const LEVELS: (u8, u8) = (1, 4);

/// A thousand rows on each of 12 axes. In an index of 12 lists, k-means puts one list around each axis for any seed, so
/// that the first list of a search has all of its nearest rows.
const YOUNG: &str = "insert into queries (query_text, theme, embedding)
    select 'row ' || row, 'theme', embedding
    from generate_series(0, 11999) row
    join (
        select axis, (select array_agg((place = axis)::int order by place) from generate_series(0, 383) place)::vector
            as embedding
        from generate_series(0, 11) axis
    ) axes on axis = row % 12";

/// Groups of 12 rows close to each other, between all axes: each is nearest to another axis, so that the ten nearest rows
/// of one of them are in ten lists.
fn aged() -> String {
    format!(
        "insert into queries (query_text, theme, embedding)
        select 'row 1', 'theme', (select array_agg(case
            when place = axis then 0.7
            when place <= 11 then 0.5
            when place = away then 3 * 1.5 ^ level
            else 0
        end order by place) from generate_series(0, 383) place)::vector
        from generate_series(1, {}) level, generate_series(12, 383) away, generate_series(0, 11) axis",
        count(LEVELS.0, LEVELS.1)
    )
}

/// Waits until `look` returns a value.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(POLL).await;
    }
}

/// The last recall of searches without a filter, with its upper bound.
async fn last_recall(connection: &mut PgConnection) -> Option<(f64, f64)> {
    sqlx::query_as(
        "select recall, recall_high from vector_search_history
        where table_name = 'queries' and filter_class = 'none' and recall is not null
        order by measured_at desc limit 1",
    )
    .fetch_optional(connection)
    .await
    .expect("the history reads")
}

/// How many actions of this name are done.
async fn done(connection: &mut PgConnection, action: &str) -> i64 {
    sqlx::query_scalar(
        "select count(*) from maintenance_actions where action = $1 and after is not null and table_name = 'queries'",
    )
    .bind(action)
    .fetch_one(connection)
    .await
    .expect("the actions read")
}

#[tokio::test]
async fn aged_table_loses_recall_which_is_reported_and_fixed_unattended() {
    let test_database = TestDatabase::prepared().await;
    let url = test_database.url();
    let database = Database::connect(&url).await.expect("the database answers");
    // Otherwise autovacuum would do a part of the maintenance.
    test_database.execute("alter table queries set (autovacuum_enabled = false)").await;
    test_database.execute(YOUNG).await;
    let mut connection = test_database.connection().await;
    let serving = blocking(move || {
        let mut settings = vec![("DATABASE_URL", url.as_str())];
        settings.extend(SETTINGS);
        Serving::start(&["query"], &settings)
    })
    .await;

    eventually("an index is built", async || (done(&mut connection, "index").await > 0).then_some(())).await;
    let young = eventually("the recall of the young table meets the target", async || {
        last_recall(&mut connection).await.filter(|(recall, _)| *recall >= TARGET)
    })
    .await;

    // Maintenance is locked until the loss of recall is reported.
    let lock = eventually("maintenance is idle", async || {
        database.lock_maintenance().await.expect("the lock can be requested")
    })
    .await;
    let (actions, began) = (done(&mut connection, "index").await, Instant::now());
    let vacuums = done(&mut connection, "vacuum").await;
    test_database.execute(&aged()).await;
    test_database.execute("delete from queries where substr(query_text, 5)::int % 2 = 0").await;
    println!("aged in {:?}", began.elapsed());
    let aged = eventually("the recall of the aged table is measured below the target", async || {
        last_recall(&mut connection).await.filter(|(_, high)| *high < TARGET)
    })
    .await;
    let is_reported = async |serving: &Serving, value: u8| {
        let line = format!(
            r#"panopticon_vector_search_alert{{table="queries",filter_class="none",alert="recall"}} {value}"#
        );
        let ready = serving.data("query", "GET", "/ready", &Value::Null);
        let is_ready = ready["alerts"].as_array().is_none_or(Vec::is_empty);
        (serving.text("query", "/metrics").lines().any(|found| found == line) && is_ready == (value == 0))
            .then_some(())
    };
    eventually("the loss is reported", async || is_reported(&serving, 1).await).await;
    assert_eq!(done(&mut connection, "index").await, actions, "no action ran before");

    lock.release().await.expect("the lock is released");
    let began = Instant::now();
    eventually("maintenance vacuums and rebuilds the index", async || {
        (done(&mut connection, "index").await > actions && done(&mut connection, "vacuum").await > vacuums)
            .then_some(())
    })
    .await;
    println!("fixed in {:?}", began.elapsed());
    let fixed = eventually("the recall of the fixed table meets the target", async || {
        last_recall(&mut connection).await.filter(|(recall, _)| *recall >= TARGET)
    })
    .await;
    eventually("the alert is cleared", async || is_reported(&serving, 0).await).await;
    println!("recall {:.3} when young, {:.3} aged, {:.3} fixed", young.0, aged.0, fixed.0);

    let expected = [
        r#"panopticon_maintenance_actions_total{action="vacuum",outcome="done"}"#,
        r#"panopticon_maintenance_duration_seconds_count{action="index"}"#,
        r#"panopticon_table_rows{table="queries"}"#,
        r#"panopticon_table_dead_rows{table="queries"} 0.0"#,
        r#"panopticon_table_bytes{table="queries",part="indexes"}"#,
    ];
    // They are set once the round is over.
    eventually("the metrics report it", async || {
        let metrics = serving.text("query", "/metrics");
        let is_present = |line: &&str| metrics.lines().any(|found| found.starts_with(line));
        expected.iter().all(is_present).then_some(())
    })
    .await;
    let ended = blocking(move || serving.end(Signal::TERM)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("has failed"), "{ended:?}");
    let left = run_on(&test_database, &["maintain", "--dry-run", "--json", "--table", "queries"]).await;
    assert_eq!((left.code, &json(&left)["left_alone"]), (0, &json!([])), "{left:?}");
}
