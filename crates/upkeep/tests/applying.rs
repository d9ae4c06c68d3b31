//! Plans are executed under load: searches always have an index, and writers do not wait.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sqlx::PgConnection;
use store::postgres::{
    Database, Table,
    vector_index::{IndexKind, IndexState, IndexUse},
};
use upkeep::{IndexType, Policy};

use crate::{
    ROWS, apply, build_waits, fill, index_names, observe, policy, prepared, queries, unfinished_write,
};

/// A writer that waits this long is blocked by the build, which waits until the writers are done.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn index_is_swapped_without_a_gap_and_without_blocking_writers() {
    let (test_database, database) = prepared().await;
    // Its writes are counted, which those of a copied database are not.
    fill(&test_database, ROWS).await;
    // Any index meets this target, so no plan builds a better one.
    let policy = Policy { recall_target: 0.01, ..policy() };
    let lists = Policy { index_type: IndexType::Ivfflat, ..policy };
    let applied = apply(&database, &lists).await;
    assert!(matches!(applied.plan.built().expect("it is built").kind, IndexKind::Ivfflat { lists: 2 }));
    assert!(!applied.measured.is_empty(), "its search parameters are measured immediately");

    let write = unfinished_write(&test_database).await;
    let is_over = AtomicBool::new(false);
    let round = async |connection: &mut PgConnection| {
        let insert = "insert into queries (query_text, theme, embedding) select 'new', 'new', embedding from queries limit 1";
        let written = tokio::time::timeout(PATIENCE, sqlx::query(insert).execute(&mut *connection)).await;
        written.expect("a writer does not wait for the build").expect("a row is written");
        let searched = observe(&database).await.indexes.iter().any(|index| index.is_searched());
        assert!(searched, "there is always an index");
    };
    let traffic = async {
        let mut connection = test_database.connection().await;
        build_waits(&test_database).await;
        for _ in 0..10 {
            round(&mut connection).await;
        }
        drop(write);
        while !is_over.load(Ordering::Relaxed) {
            round(&mut connection).await;
        }
    };
    let swap = async {
        let applied = apply(&database, &policy).await;
        is_over.store(true, Ordering::Relaxed);
        applied
    };
    let ((), applied) = tokio::join!(traffic, swap);
    assert!(matches!(applied.plan.built().expect("it is built").kind, IndexKind::Hnsw { .. }));
    let observation = observe(&database).await;
    let [index] = &observation.indexes[..] else { panic!("{:?}", observation.indexes) };
    assert_eq!((index.name.as_str(), index.state), ("queries_panopticon_vector", IndexState::Valid));
    assert_eq!(index.service, IndexUse::Searches);
    assert!(observation.writes > u64::from(ROWS), "{}", observation.writes);

    let again = apply(&database, &policy).await.plan;
    assert!(again.is_empty(), "{again}");
    let plans = database.last_plans(&queries(), 10).await.expect("plans read");
    assert_eq!(plans.len(), 2, "only executed plans are stored");
    assert!(plans.iter().all(|plan| plan.ended_at.is_some()), "{plans:?}");
    assert_eq!(plans[0].plan["wanted"]["type"], "hnsw");

    let none = Policy { index_type: IndexType::None, ..policy };
    apply(&database, &none).await;
    assert_eq!(index_names(&test_database).await, ["queries_pkey"]);
}

#[tokio::test]
async fn second_process_is_rejected_while_the_first_one_runs() {
    let (_test_database, database) = prepared().await;
    let lock = database.lock_indexes("queries").await.expect("the lock is free");
    let refused = upkeep::apply(&database, &queries(), &policy(), &|_| {}).await;
    let upkeep::Error::Store { source, .. } = refused.expect_err("it is locked");
    assert!(matches!(*source, store::Error::IndexesLocked { .. }), "{source}");
    lock.release().await.expect("the lock was not lost");
    apply(&database, &policy()).await;
}

#[tokio::test]
async fn tables_of_other_collections_are_indexed_for_their_distance() {
    let (test_database, database) = prepared().await;
    let table =
        Table { name: "articles".to_owned(), dimension: 3, space: records::DistanceSpace::L2, ..queries() };
    let names = async |database: &Database| -> Vec<String> {
        let tables = upkeep::tables(database).await.expect("the tables are listed");
        tables.into_iter().map(|table| table.name).collect()
    };
    assert_eq!(names(&database).await, ["evaluation_metrics", "llm_outputs", "queries"]);
    test_database
        .execute(&format!(
            "create table articles (like queries including all);
            alter table articles alter embedding type vector(3);
            insert into articles (query_text, theme, embedding)
                select 'a', 'b', array[random(), random(), random()]::vector from generate_series(1, 10000);
            insert into migration_jobs values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't', 'd', 'c',
                's', 'articles', '{}', 'complete', gen_random_uuid(), true, 0, 0, 0, null, now(), now())",
            table.definition()
        ))
        .await;
    assert_eq!(names(&database).await, ["articles", "evaluation_metrics", "llm_outputs", "queries"]);
    upkeep::apply(&database, &table, &policy(), &|_| {}).await.expect("the plan is carried out");
    let observation = database.observe_indexes(&table).await.expect("the table is there");
    let [index] = &observation.indexes[..] else { panic!("{:?}", observation.indexes) };
    assert!(index.is_searched(), "{index:?}");
    let mut connection = test_database.connection().await;
    let definition: String =
        sqlx::query_scalar("select pg_get_indexdef('articles_panopticon_vector'::regclass)")
            .fetch_one(&mut connection)
            .await
            .expect("the index is there");
    assert!(definition.contains("hnsw (embedding vector_l2_ops)"), "{definition}");
}
