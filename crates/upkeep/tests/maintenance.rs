//! Maintenance: actions are executed and recorded, and the next plan is empty; one process at a time, never during a
//! migration; and the next round recovers from any crash.

use std::{future::pending, sync::Mutex, time::Duration};

use serde_json::Value;
use sqlx::PgConnection;
use store::postgres::{Database, vector_index::IndexState};
use test_support::{Template, TestDatabase};
use upkeep::{
    IndexType, Policy,
    maintenance::{
        Done, Ending, Event, Interruption, Limits, Maintenance, Outcome, Plan, Round, maintain, observe, plan,
    },
};

use crate::{build_waits, clustered, copy_of, index_names, policy, prepared, queries, unfinished_write};

const PATIENCE: Duration = Duration::from_secs(60);

async fn round(database: &Database) -> (Plan, Vec<Done>, Ending) {
    round_of(database, &policy()).await
}

async fn round_of(database: &Database, policy: &Policy) -> (Plan, Vec<Done>, Ending) {
    let maintenance =
        Maintenance { database, policy, limits: &Limits::default(), only: None, observer: &|_| {} };
    match maintain(maintenance, pending()).await.expect("the round is made") {
        Round::Busy => panic!("no other process maintains the database"),
        Round::Made { plan, done, ending } => (plan, done, ending),
    }
}

async fn planned(database: &Database, policy: &Policy) -> Plan {
    let limits = Limits::default();
    let observed = observe(database, &limits, None).await.expect("the tables can be observed");
    plan(&observed, policy, &limits)
}

/// A table of 2,550 rows with an HNSW index of which a quarter of the entries are dead.
async fn with_dead_entries() -> (TestDatabase, Database) {
    static WITH_GRAPH: Template = Template::new();
    let graph = "create index queries_panopticon_vector on queries using hnsw (embedding vector_cosine_ops)";
    let statements = format!("{}; {graph}", clustered(3_400));
    let (test_database, database) = copy_of(&WITH_GRAPH, &statements).await;
    // A copied database has no statistics of the server, and ANALYZE counts rows.
    test_database
        .execute(
            "alter table queries set (autovacuum_enabled = false);
            analyze queries;
            delete from queries where substr(query_text, 5)::int % 4 = 0",
        )
        .await;
    // A session reports its statistics when it ends, which is slightly later.
    let is_told = async {
        while dead_rows(&database).await < 850 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_told).await.expect("the server counts the dead rows");
    (test_database, database)
}

async fn dead_rows(database: &Database) -> u64 {
    let health = database.table_health(&["queries".to_owned()]).await.expect("the statistics read");
    health[0].dead_rows
}

fn actions(done: &[Done]) -> Vec<&str> {
    done.iter().map(|done| done.planned.action.as_str()).collect()
}

#[tokio::test]
async fn hnsw_index_of_dead_entries_is_rebuilt_before_vacuum_and_measured_after() {
    let (test_database, database) = with_dead_entries().await;
    let (plan, done, ending) = round(&database).await;
    assert_eq!((actions(&done), ending), (vec!["reindex", "vacuum", "index"], Ending::All), "{plan}");
    assert!(done.iter().all(|done| done.outcome == Outcome::Done), "{done:?}");
    let (before, after) = (&done[0].before, &done[2].after);
    assert!(before["dead_rows"] == 850 && after["dead_rows"] == 0, "{before} {after}");
    let size = |measured: &Value| measured["vector_index_bytes"].as_u64().expect("it has an index");
    assert!(size(after) * 10 < size(before) * 8, "{before} {after}");
    assert!(after["recall"].is_number() && before["recall"].is_null(), "{done:?}");
    assert_eq!(index_names(&test_database).await, ["queries_panopticon_vector", "queries_pkey"]);
    let again = planned(&database, &policy()).await;
    assert!(again.is_empty(), "{again}");

    let kept = database.last_actions(10).await.expect("actions read");
    let names: Vec<&str> = kept.iter().rev().map(|kept| kept.action.as_str()).collect();
    assert_eq!(names, ["reindex", "vacuum", "index"]);
    assert!(kept.iter().all(|kept| kept.table.as_deref() == Some("queries") && kept.ended_at.is_some()));
    assert_eq!((&kept[2].before, kept[0].after.as_ref()), (before, Some(after)), "as reported");
}

#[tokio::test]
async fn one_process_maintains_at_a_time_and_none_during_a_migration() {
    let (_test_database, database) = with_dead_entries().await;
    let held = database.lock_maintenance().await.expect("the lock is asked for").expect("the lock is free");
    let maintenance = Maintenance {
        database: &database,
        policy: &policy(),
        limits: &Limits::default(),
        only: None,
        observer: &|_| {},
    };
    let refused = maintain(maintenance, pending()).await.expect("the round ends");
    assert!(matches!(refused, Round::Busy), "{refused:?}");
    held.release().await.expect("the lock is released");

    let migration = database.lock_table("queries").await.expect("no migration is running");
    let (plan, done, _) = round(&database).await;
    assert!(actions(&done).is_empty(), "{done:?}");
    let left = "queries: skipped, because a migration writes into it";
    assert!(plan.to_string().contains(left), "{plan}");
    drop(migration);
}

/// Starts a round that rebuilds the index, and returns it once the build has started, with the sender that stops it,
/// and the write that the build waits for.
async fn rebuilding(
    test_database: &TestDatabase,
    database: &Database,
) -> (tokio::task::JoinHandle<Round>, tokio::sync::oneshot::Sender<()>, PgConnection) {
    let write = unfinished_write(test_database).await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let database = database.clone();
    let worker = tokio::spawn(async move {
        let (policy, limits) = (policy(), Limits::default());
        let maintenance = Maintenance {
            database: &database,
            policy: &policy,
            limits: &limits,
            only: None,
            observer: &|_| {},
        };
        // Dropping the sender does not stop the round.
        let stop = async {
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        };
        maintain(maintenance, stop).await.expect("the round is made")
    });
    build_waits(test_database).await;
    (worker, stop, write)
}

/// One more round completes the work, and leaves one index that searches use.
async fn assert_next_round_recovers(test_database: &TestDatabase, database: &Database) {
    let (plan, done, _) = round(database).await;
    assert!(done.iter().all(|done| done.outcome == Outcome::Done), "{done:?}");
    assert!(actions(&done).contains(&"vacuum"), "{plan}");
    assert_eq!(index_names(test_database).await, ["queries_panopticon_vector", "queries_pkey"]);
    let again = planned(database, &policy()).await;
    assert!(again.is_empty(), "{again}");
}

#[tokio::test]
async fn killed_rebuild_is_completed_by_the_next_round() {
    let (test_database, database) = with_dead_entries().await;
    let (worker, _stop, write) = rebuilding(&test_database, &database).await;
    // Like a kill: the connections are closed, and the server continues building.
    worker.abort();
    assert!(worker.await.expect_err("it was aborted").is_cancelled());
    let left = database.observe_indexes(&queries()).await.expect("the table is there").indexes;
    assert!(left.iter().any(|index| index.state != IndexState::Valid), "{left:?}");
    drop(write);
    assert_next_round_recovers(&test_database, &database).await;
    let kept = database.last_actions(10).await.expect("actions read");
    let killed = kept.last().expect("there is the first");
    assert_eq!((killed.action.as_str(), killed.ended_at, &killed.error), ("reindex", None, &None));
}

#[tokio::test]
async fn stopped_round_is_recorded_and_the_next_one_continues() {
    let (test_database, database) = with_dead_entries().await;
    let (worker, stop, write) = rebuilding(&test_database, &database).await;
    stop.send(()).expect("the round is running");
    let Ok(Round::Made { done, ending, .. }) = worker.await else { panic!("the round ends") };
    assert_eq!((actions(&done), ending), (vec!["reindex"], Ending::Stopped), "{done:?}");
    assert!(done[0].outcome == Outcome::Interrupted(Interruption::Stop), "{done:?}");
    let kept = database.last_actions(1).await.expect("actions read").remove(0);
    assert!(kept.ended_at.is_some() && kept.after.is_none(), "{kept:?}");
    assert_eq!(kept.error.as_deref(), Some("maintenance was stopped"));
    drop(write);
    assert_next_round_recovers(&test_database, &database).await;
}

#[tokio::test]
async fn starting_migration_interrupts_the_action_on_its_table() {
    let (test_database, database) = with_dead_entries().await;
    let (worker, _stop, write) = rebuilding(&test_database, &database).await;
    let migration = database.lock_table("queries").await.expect("no migration is running");
    let ended = tokio::time::timeout(PATIENCE, worker).await.expect("it ends in time");
    let Ok(Round::Made { done, .. }) = ended else { panic!("the round ends") };
    assert!(
        done.iter().all(|done| done.outcome == Outcome::Interrupted(Interruption::Migration)),
        "{done:?}"
    );
    drop(migration);
    let is_over = async {
        while !database.migrating_tables(&["queries".to_owned()]).await.expect("locks read").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_over).await.expect("the lock is released");
    drop(write);
    assert_next_round_recovers(&test_database, &database).await;
}

#[tokio::test]
async fn failing_action_is_recorded_and_the_others_are_executed() {
    let (test_database, database) = with_dead_entries().await;
    test_database
        .execute(
            "insert into vector_index_plans (id, table_name, observed, plan, writes, started_at)
            select md5(day::text)::uuid, 'queries', '{}', '{}', 0, now() - make_interval(days => day)
            from generate_series(95, 100) day",
        )
        .await;
    let indexes = database.lock_indexes("queries").await.expect("no build is running");
    let (_, done, ending) = round(&database).await;
    assert_eq!((actions(&done), ending), (vec!["expire", "reindex", "vacuum", "index"], Ending::All));
    assert_eq!(done[0].outcome, Outcome::Done);
    let expected = "failed to vacuum table `queries`: the indexes of table `queries` are locked by another \
        process";
    assert!(matches!(&done[2].outcome, Outcome::Failed { error } if error.starts_with(expected)), "{done:?}");
    let kept = database.last_actions(4).await.expect("actions read");
    assert!(kept[1].error.as_deref().is_some_and(|error| error.starts_with(expected)), "{kept:?}");
    let mut connection = test_database.connection().await;
    let left: i64 = sqlx::query_scalar("select count(*) from vector_index_plans")
        .fetch_one(&mut connection)
        .await
        .expect("plans count");
    assert_eq!(left, 1, "the newest one is needed for the write rate");
    indexes.release().await.expect("the lock is released");
}

#[tokio::test]
async fn low_recall_leads_to_measuring_with_recorded_vectors() {
    let (test_database, database) = prepared().await;
    // A thousand rows on each of 15 axes, each of which becomes the centre of a list, since there are no other rows.
    test_database
        .execute(
            "insert into queries (query_text, theme, embedding)
            select 'row ' || row, 'on an axis', axes.embedding
            from generate_series(0, 14999) row
            join (
                select axis, (select array_agg((place = axis)::int order by place) from generate_series(0, 383) place)::vector
                    as embedding
                from generate_series(0, 14) axis
            ) axes on axis = row % 15;
            analyze queries",
        )
        .await;
    let policy = Policy { index_type: IndexType::Ivfflat, ..policy() };
    let (_, done, _) = round_of(&database, &policy).await;
    // Autovacuum may have vacuumed the rows first.
    assert!(actions(&done).starts_with(&["index"]), "{done:?}");
    assert!(planned(&database, &policy).await.is_empty());
    // One list contains the nearest rows of each of these, but only five of ten rows between two axes.
    test_database
        .execute(
            "update vector_index_settings set candidates = 1;
            create temporary table between_axes as
                select one, other, near, (select array_agg(case place
                    when one then 1 - near when other then 1 + near else 0
                end order by place) from generate_series(0, 383) place) as embedding
                from generate_series(0, 7) one, generate_series(8, 12) other, unnest(array[-0.1, 0, 0.1]) near;
            insert into queries (query_text, theme, embedding)
                select 'row 1', 'between axes', embedding::vector
                from between_axes, generate_series(1, 5) copy where near <> 0;
            insert into vector_search_samples
                (id, table_name, filter_class, searched_at, embedding, wanted, returned, latency_ms)
            select gen_random_uuid(), 'queries', 'none', now() at time zone 'utc', embedding::real[], 10, 10, 1
            from between_axes where near = 0;
            insert into vector_search_history
                (table_name, filter_class, measured_at, seconds, searches, wanted, returned, missing, replayed, recall,
                recall_low, recall_high, target, rows)
            values ('queries', 'none', now() at time zone 'utc', 0.001, 40, 400, 400, 0, 40, 0.8, 0.78, 0.82, 0.98, 15000);
            delete from queries where substr(query_text, 5)::int % 10 = 0",
        )
        .await;
    let (plan, done, _) = round_of(&database, &policy).await;
    assert!(actions(&done).ends_with(&["index"]), "{plan}");
    let expected = "the recall of searches is 0.800 since they were measured, significantly below 0.820";
    assert!(plan.to_string().contains(expected), "{plan}");
    let done = done.last().expect("there is one");
    let candidates = |measured: &Value| measured["candidates"].as_u64().expect("it was measured");
    assert!(candidates(&done.after) > candidates(&done.before), "{done:?}");
    // Measurements before the last tuning do not count.
    let again = planned(&database, &policy).await.to_string();
    assert!(!again.contains("recall of searches"), "{again}");
}

#[tokio::test]
async fn large_tables_get_higher_statistics_targets() {
    let (test_database, database) = prepared().await;
    database.ensure_service_indexes(records::Service::Query).await.expect("the indexes are built");
    test_database
        .execute(
            "insert into queries (query_text, theme, metadata)
            select 'row', 'theme ' || row % 500, '{}' from generate_series(1, 250000) row",
        )
        .await;
    test_database.execute("vacuum analyze queries").await;
    let exact = Policy { index_type: IndexType::None, ..policy() };
    let (plan, done, _) = round_of(&database, &exact).await;
    assert_eq!(actions(&done), ["statistics"], "{plan}");
    assert_eq!(done[0].outcome, Outcome::Done);
    let mut connection = test_database.connection().await;
    let targets: Vec<(String, i32)> = sqlx::query_as(
        "select attrelid::regclass || '.' || attname, attstattarget::int from pg_attribute
        where attstattarget > 0 order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the catalog reads");
    let expected =
        [("queries.metadata", 200), ("queries.theme", 200), ("queries_panopticon_category.left", 200)];
    assert_eq!(targets, expected.map(|(name, target)| (name.to_owned(), target)));
    let (again, ..) = round_of(&database, &exact).await;
    assert!(again.is_empty(), "{again}");
}

#[tokio::test]
async fn round_ends_with_its_budget_and_the_next_one_continues() {
    let (_test_database, database) = with_dead_entries().await;
    let told = Mutex::new(Vec::new());
    let limits = Limits { budget: Duration::ZERO, ..Limits::default() };
    let observer = |event: Event<'_>| {
        if let Event::Observed(observed) = event {
            told.lock().expect("no holder panics").push(observed.tables.len());
        }
    };
    let maintenance = Maintenance {
        database: &database,
        policy: &policy(),
        limits: &limits,
        only: Some("queries"),
        observer: &observer,
    };
    let made = maintain(maintenance, pending()).await.expect("the round is made");
    let Round::Made { plan, done, ending } = made else { panic!("no other process maintains the database") };
    assert_eq!((plan.actions.len(), done.len(), ending), (3, 0, Ending::TimeUp));
    assert_eq!(*told.lock().expect("no holder panics"), [1], "only the named table");
}
