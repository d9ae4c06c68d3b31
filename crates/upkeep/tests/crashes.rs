//! The next call recovers from any crash.

use store::postgres::vector_index::IndexState;
use upkeep::Policy;

use crate::{apply, build_waits, filled, index_names, observe, queries, unfinished_write};

#[tokio::test]
async fn build_of_a_killed_process_is_cancelled_dropped_and_repeated() {
    let (test_database, database) = filled().await;
    let write = unfinished_write(&test_database).await;
    let worker = {
        let (database, table) = (database.clone(), queries());
        tokio::spawn(
            async move { upkeep::apply(&database, &table, &Policy::default(), &|_| {}).await.map(drop) },
        )
    };
    build_waits(&test_database).await;
    // Like a kill: the connections are closed, and the server continues building.
    worker.abort();
    assert!(worker.await.expect_err("it was aborted").is_cancelled());
    let left = observe(&database).await.indexes;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_ne!(left[0].state, IndexState::Valid, "{left:?}");
    drop(write);

    let plan = apply(&database, &Policy::default()).await.plan;
    assert!(plan.reasons.iter().any(|reason| reason.contains("never finished")), "{plan}");
    assert_eq!(index_names(&test_database).await, ["queries_panopticon_vector", "queries_pkey"]);
    assert!(observe(&database).await.indexes[0].is_searched());
    let plans = database.last_plans(&queries(), 10).await.expect("plans read");
    let ended: Vec<bool> = plans.iter().map(|plan| plan.ended_at.is_some()).collect();
    assert_eq!(ended, [true, false], "the interrupted plan is distinguished from the executed one");
}
