//! An invalid time in a bookkeeping table affects only its row, and is reported.

use std::collections::BTreeMap;

use store::postgres::OddKind;
use test_support::odd_rows::{KEPT_ROWS, kept_tables, put_odd_times};
use time::macros::datetime;
use upkeep::{
    Policy,
    doctor::{diagnose, examine},
    maintenance::{Limits, observe, plan},
    monitor::{Monitor, MonitorConfig},
};

use crate::{fill, prepared, queries};

#[tokio::test]
async fn invalid_times_in_bookkeeping_tables_are_skipped_counted_and_reported() {
    let (test_database, database) = prepared().await;
    fill(&test_database, 500).await;
    put_odd_times(&test_database).await;

    let examination = examine(&database, None).await.expect("it is examined");
    let found: BTreeMap<&str, (u64, u64)> = examination
        .times
        .iter()
        .flatten()
        .map(|odd| {
            let rows = |kind: OddKind| {
                odd.found.iter().filter(|(place, _)| place.kind == kind).map(|(_, rows)| rows).sum()
            };
            (odd.table.as_str(), (rows(OddKind::Null), rows(OddKind::TimeOutOfRange)))
        })
        .collect();
    for (table, required) in kept_tables() {
        let (null, out_of_range) = found[table];
        assert_eq!(null, required as u64, "{table}");
        assert!(out_of_range >= required as u64 * (KEPT_ROWS as u64 - 1), "{table}: {out_of_range}");
    }
    let findings = diagnose(&examination, &Policy::default());
    let finding = findings
        .iter()
        .find(|finding| finding.code == "bookkeeping_times" && finding.table.as_deref() == Some("runs"));
    assert!(
        finding.is_some_and(|finding| finding.what.starts_with("1 of 8 rows has no time")),
        "{findings:?}"
    );
    assert!(findings.iter().all(|finding| finding.code != "recall_of_searches_low"), "{findings:?}");

    let observation = upkeep::observe(&database, &queries()).await.expect("it is observed");
    assert_eq!((observation.searches, observation.writes_per_second), (Vec::new(), None));
    let plans = database.last_plans(&queries(), 100).await.expect("plans read");
    assert_eq!(plans.len(), KEPT_ROWS);
    assert_eq!(plans.iter().filter(|plan| plan.started_at.is_none()).count(), 1);
    assert!(plans.iter().any(|plan| plan.started_at.is_some_and(|time| time.to_string() == "infinity")));
    let actions = database.last_actions(100).await.expect("actions read");
    assert_eq!(actions.len(), KEPT_ROWS);
    assert_eq!(actions.iter().filter(|action| action.started_at.is_none()).count(), 1);
    let held = database.dead_rows_left(datetime!(2020-01-01 00:00)).await.expect("actions read");
    assert_eq!(held, [], "none of them has ended since");
    let observed = observe(&database, &Limits::default(), None).await.expect("it is observed");
    let left = plan(&observed, &Policy::default(), &Limits::default()).left_alone;
    for ledger in ["maintenance_actions", "vector_index_plans"] {
        let left = left.iter().find(|left| left.table == ledger);
        assert!(left.is_some_and(|left| left.reason.contains("doctor")), "{left:?}");
    }

    let mut monitor = Monitor::new(database.clone(), MonitorConfig::default());
    for _ in 0..2 {
        let pass = monitor.pass().await.expect("the pass is made");
        assert!(pass.failures.is_empty(), "{:?}", pass.failures);
        // Those of the future, and the one without a time; the others are older than all rows that are read.
        assert_eq!((pass.alerts, pass.unreadable), (Vec::new(), 5));
        let recall = pass.recalls.iter().find(|row| row.table == "queries").and_then(|row| row.recall);
        assert_eq!(recall.map(|recall| recall.mean), Some(1.0));
    }
}

#[tokio::test]
async fn invalid_numbers_in_measurements_are_skipped() {
    let (test_database, database) = prepared().await;
    fill(&test_database, 500).await;
    let history = |column: &str, value: &str| {
        let nullable = if value == "null" {
            format!("alter table vector_search_history alter {column} drop not null;")
        } else {
            String::new()
        };
        format!(
            "{nullable}
            insert into vector_search_history (table_name, filter_class, measured_at, seconds, searches, wanted, returned,
                replayed, missing, recall, recall_low, recall_high, target, rows)
            values ('queries', 'none', clock_timestamp() at time zone 'utc', 300, 100, 1000, 1000, 1000, 0, 0.1, 0.1, 0.1,
                0.98, 1);
            update vector_search_history set {column} = {value}
            where measured_at = (select max(measured_at) from vector_search_history);"
        )
    };
    let values = [
        ("seconds", "'NaN'"),
        ("seconds", "'Infinity'"),
        ("seconds", "'-Infinity'"),
        ("searches", "-9223372036854775808"),
        ("replayed", "-2147483648"),
        ("seconds", "null"),
        ("searches", "-1"),
        ("searches", "null"),
        ("wanted", "-1"),
        ("replayed", "-1"),
        ("replayed", "null"),
        ("missing", "-1"),
        ("recall", "'NaN'"),
        ("target", "'NaN'"),
        ("target", "null"),
        ("rows", "-1"),
        ("filter_class", "'colour'"),
    ];
    for (column, value) in values {
        test_database.execute(&history(column, value)).await;
    }
    test_database
        .execute(
            "insert into maintenance_actions (id, table_name, action, reason, before, after, started_at, ended_at)
            select gen_random_uuid(), name, 'vacuum', 'r', '{}', after::jsonb, now(), now() at time zone 'utc'
            from unnest(array['queries', null]) name,
                unnest(array['{}', '[]', '{\"dead_rows\": -1}', '{\"dead_rows\": 1e400}', '{\"dead_rows\": \"many\"}']) after;
            insert into vector_search_samples (id, table_name, filter_class, searched_at, embedding, wanted, returned,
                latency_ms)
            select gen_random_uuid(), 'queries', 'none', now() at time zone 'utc', embedding, 1, 1, 1
            from (values ('{}'::real[]), ('{1,2}'), ('{NULL}'), (array_fill('NaN'::real, array[384])),
                (array_fill(null::real, array[384]))) odd (embedding)",
        )
        .await;
    assert_eq!(database.dead_rows_left(datetime!(2020-01-01 00:00)).await.expect("actions read"), []);
    upkeep::observe(&database, &queries()).await.expect("it is observed");
    let examination = examine(&database, None).await.expect("it is examined");
    let odd: u64 = examination
        .times
        .iter()
        .flatten()
        .filter(|odd| odd.table == "vector_search_history")
        .flat_map(|odd| &odd.found)
        .map(|(_, rows)| rows)
        .sum();
    assert_eq!(odd, values.len() as u64, "doctor counts each");
    let pass =
        Monitor::new(database.clone(), MonitorConfig::default()).pass().await.expect("the pass is made");
    assert!(pass.failures.is_empty(), "{:?}", pass.failures);
    assert_eq!((pass.alerts, pass.unreadable), (Vec::new(), values.len() as u64));
}

#[tokio::test]
async fn invalid_rows_of_migrations_are_reported_and_hide_nothing() {
    let (test_database, database) = prepared().await;
    fill(&test_database, 500).await;
    let columns = [
        "run_id",
        "collection_id",
        "tenant",
        "database",
        "collection",
        "source",
        "table_name",
        "definition",
        "status",
        "holder",
        "created_table",
        "written",
        "updated",
        "deleted",
    ];
    for column in columns {
        test_database.execute(&format!("alter table migration_jobs alter {column} drop not null")).await;
    }
    let mut damages: Vec<String> = columns.map(|column| format!("{column} = null")).into();
    let values = [
        "written = -1",
        "updated = -9223372036854775808",
        "deleted = -5",
        "status = 'zzz'",
        "status = repeat('x', 100000)",
        "definition = (repeat('[', 300) || repeat(']', 300))::jsonb",
    ];
    damages.extend(values.map(str::to_owned));
    for damage in &damages {
        test_database
            .execute(&format!(
                "insert into migration_jobs (id, run_id, collection_id, tenant, database, collection, source, table_name,
                    definition, status, holder, created_table, started_at, changed_at)
                values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't', 'd', 'c', 's', 'gone', '{{}}', 'undone',
                    gen_random_uuid(), false, now(), now());
                update migration_jobs set {damage} where id = (select id from migration_jobs order by started_at desc limit 1)"
            ))
            .await;
    }
    let jobs = database.jobs().await.expect("the jobs read");
    assert_eq!(jobs.len(), damages.len());
    for job in &jobs {
        assert!(job.problems.len() == 1 && job.problems[0].len() < 200, "{:?}", job.problems);
    }
    assert_eq!(upkeep::tables(&database).await.expect("the tables are known").len(), 3);
    let observed = observe(&database, &Limits::default(), None).await.expect("it is observed");
    let left = plan(&observed, &Policy::default(), &Limits::default()).left_alone;
    let told =
        left.iter().filter(|left| left.table == "migration_jobs" && left.reason.contains("doctor")).count();
    assert_eq!(told, damages.len(), "{left:?}");
    let pass =
        Monitor::new(database.clone(), MonitorConfig::default()).pass().await.expect("the pass is made");
    assert!(pass.failures.is_empty(), "{:?}", pass.failures);
    let examination = examine(&database, None).await.expect("it is examined");
    let findings = diagnose(&examination, &Policy::default());
    let found: Vec<&str> = findings
        .iter()
        .filter(|finding| {
            finding.code == "bookkeeping_values" && finding.table.as_deref() == Some("migration_jobs")
        })
        .map(|finding| finding.what.as_str())
        .collect();
    for (column, rows) in [("written", 2), ("updated", 2), ("deleted", 2), ("status", 3)] {
        let told = format!("column `{column}`");
        let begins = format!("{rows} of {} rows have", damages.len());
        assert!(
            found.iter().any(|what| what.contains(&told) && what.starts_with(&begins)),
            "{column}: {found:?}"
        );
    }
}
