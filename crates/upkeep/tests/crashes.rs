//! The next call recovers from any crash.

use std::sync::atomic::{AtomicUsize, Ordering};

use store::postgres::{
    Database,
    vector_index::{IndexDefinition, IndexKind, IndexState, Precision},
};
use tokio::sync::Notify;
use upkeep::{BuildUrgency, Event, IndexType, Policy};

use crate::{ROWS, apply, build_waits, filled, index_names, observe, policy, queries, unfinished_write};

#[tokio::test]
async fn build_of_a_killed_process_is_cancelled_dropped_and_repeated() {
    let (test_database, database) = filled().await;
    let write = unfinished_write(&test_database).await;
    let worker = {
        let (database, table) = (database.clone(), queries());
        tokio::spawn(async move { upkeep::apply(&database, &table, &policy(), &|_| {}).await.map(drop) })
    };
    build_waits(&test_database).await;
    // Like a kill: the connections are closed, and the server continues building.
    worker.abort();
    assert!(worker.await.expect_err("it was aborted").is_cancelled());
    let left = observe(&database).await.indexes;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_ne!(left[0].state, IndexState::Valid, "{left:?}");
    drop(write);

    let plan = apply(&database, &policy()).await.plan;
    assert!(plan.reasons.iter().any(|reason| reason.contains("never finished")), "{plan}");
    assert_eq!(index_names(&test_database).await, ["queries_panopticon_vector", "queries_pkey"]);
    assert!(observe(&database).await.indexes[0].is_searched());
    let plans = database.last_plans(&queries(), 10).await.expect("plans read");
    let ended: Vec<bool> = plans.iter().map(|plan| plan.ended_at.is_some()).collect();
    assert_eq!(ended, [true, false], "the interrupted plan is distinguished from the executed one");
}

/// A target that any index meets with few candidates, so that none is rebuilt for its recall.
const LENIENT: Policy = Policy {
    index_type: IndexType::Auto,
    recall_target: 0.1,
    urgency: BuildUrgency::None,
    exact_scan_rows: 2_500,
    most_searches: 60,
};

/// What the next call must make of any state that a killed build or rebuild has left: one valid index, as it was built,
/// whose option is that of inserts.
async fn assert_built_and_lowered(database: &Database, ef_construction: u32) {
    let plan = apply(database, &LENIENT).await.plan;
    let observation = observe(database).await;
    let [index] = &observation.indexes[..] else { panic!("{:?} after {plan}", observation.indexes) };
    let kind = IndexKind::Hnsw { m: 16, ef_construction, ef_insert: 64 };
    assert_eq!(index.definition.kind, kind, "after {plan}");
    assert!(index.is_searched() && index.name == "queries_panopticon_vector", "{index:?}");
    let again = upkeep::plan(&observation, &LENIENT);
    assert!(again.is_empty(), "{again}");
}

#[tokio::test]
async fn plan_that_is_killed_before_any_of_its_changes_is_completed() {
    let mut kills = 0;
    for killed_at in 0.. {
        let (_test_database, database) = filled().await;
        let seen = AtomicUsize::new(0);
        let is_reached = Notify::new();
        let observer = |event: Event<'_>| {
            if matches!(event, Event::Change(_) | Event::Tuning(_))
                && seen.fetch_add(1, Ordering::Relaxed) == killed_at
            {
                is_reached.notify_one();
            }
        };
        // Like a kill before the change: the future is dropped where it first waits, before the server gets a statement.
        let (table, policy) = (queries(), LENIENT);
        let is_killed = tokio::select! {
            biased;
            () = is_reached.notified() => true,
            done = upkeep::apply(&database, &table, &policy, &observer) => {
                done.expect("the plan is carried out");
                false
            }
        };
        assert_built_and_lowered(&database, 200).await;
        if !is_killed {
            break;
        }
        kills += 1;
    }
    assert_eq!(kills, 4, "build, rename, set the option, measure");
}

#[tokio::test]
async fn rebuild_that_is_killed_between_any_steps_is_known_by_how_it_was_built() {
    let (test_database, database) = filled().await;
    // As an older version builds it.
    test_database
        .execute(
            "create index queries_panopticon_vector on queries using hnsw (embedding vector_cosine_ops)
                with (m = 16, ef_construction = 64)",
        )
        .await;
    assert_built_and_lowered(&database, 64).await;
    let option = async |ef_construction| {
        let (table, name) = (queries(), "queries_panopticon_vector");
        database.set_ef_construction(&table, name, ef_construction).await.expect("the option is set");
    };
    // Killed after the option was raised: the index is still the old one.
    option(200).await;
    assert_built_and_lowered(&database, 64).await;

    // Killed during the rebuild.
    option(200).await;
    let write = unfinished_write(&test_database).await;
    let worker = {
        let database = database.clone();
        tokio::spawn(async move {
            let table = queries();
            let rebuilt = IndexDefinition {
                kind: IndexKind::Hnsw { m: 16, ef_construction: 200, ef_insert: 64 },
                precision: Precision::Full,
            };
            database
                .rebuild_index(&table, u64::from(ROWS), ("queries_panopticon_vector", rebuilt), &|_, _| {})
                .await
        })
    };
    build_waits(&test_database).await;
    worker.abort();
    assert!(worker.await.expect_err("it was aborted").is_cancelled());
    drop(write);
    assert_built_and_lowered(&database, 64).await;

    // Killed after the rebuild, before the option was lowered.
    option(200).await;
    test_database.execute("reindex index concurrently queries_panopticon_vector").await;
    assert_built_and_lowered(&database, 200).await;

    // A rebuild by someone else uses the option.
    test_database.execute("reindex index queries_panopticon_vector").await;
    assert_built_and_lowered(&database, 64).await;
}
