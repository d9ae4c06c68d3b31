//! A plan is carried out beside traffic: searches have an index at every moment, writers do not wait.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use store::postgres::{
    Database, Table,
    vector_index::{IndexKind, IndexState, IndexUse},
};
use upkeep::{IndexType, Policy};

use crate::{apply, fill, index_names, observe, prepared, queries};

/// A writer that waits longer than this waits for the build. Each build of these tests takes several seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn index_is_swapped_without_a_gap_and_without_blocking_writers() {
    let (test_database, database) = prepared().await;
    fill(&test_database, 12_000).await;
    let lists = Policy { index_type: IndexType::Ivfflat, ..Policy::default() };
    let applied = apply(&database, &lists).await;
    assert!(matches!(applied.plan.built().expect("it is built").kind, IndexKind::Ivfflat { lists: 12 }));
    assert!(!applied.measured.is_empty(), "its settings are measured at once");

    let is_over = AtomicBool::new(false);
    let traffic = async {
        let mut connection = test_database.connection().await;
        let mut rounds = 0;
        while !is_over.load(Ordering::Relaxed) {
            let started = Instant::now();
            sqlx::query("insert into queries (query_text, theme, embedding) select 'new', 'new', embedding from queries limit 1")
                .execute(&mut connection)
                .await
                .expect("a row is written");
            assert!(started.elapsed() < LONGEST_WAIT, "a writer waited {:?}", started.elapsed());
            let searched = observe(&database).await.indexes.iter().any(|index| index.is_searched());
            assert!(searched, "there is an index at every moment");
            rounds += 1;
        }
        rounds
    };
    let swap = async {
        let applied = apply(&database, &Policy::default()).await;
        is_over.store(true, Ordering::Relaxed);
        applied
    };
    let (rounds, applied) = tokio::join!(traffic, swap);
    assert!(rounds > 10, "{rounds}");
    assert!(matches!(applied.plan.built().expect("it is built").kind, IndexKind::Hnsw { .. }));
    let observation = observe(&database).await;
    let [index] = &observation.indexes[..] else { panic!("{:?}", observation.indexes) };
    assert_eq!((index.name.as_str(), index.state), ("queries_panopticon_vector", IndexState::Valid));
    assert_eq!(index.service, IndexUse::Searches);
    assert!(observation.writes > 12_000, "{}", observation.writes);

    let again = apply(&database, &Policy::default()).await.plan;
    assert!(again.is_empty(), "{again}");
    let plans = database.last_plans(&queries(), 10).await.expect("plans read");
    assert_eq!(plans.len(), 2, "what was done is kept, what was not is not");
    assert!(plans.iter().all(|(_, ended, _)| ended.is_some()), "{plans:?}");
    assert_eq!(plans[0].2["wanted"]["type"], "hnsw");

    let none = Policy { index_type: IndexType::None, ..Policy::default() };
    apply(&database, &none).await;
    assert_eq!(index_names(&test_database).await, ["queries_pkey"]);
}

#[tokio::test]
async fn second_process_is_refused_while_the_first_one_works() {
    let (_test_database, database) = prepared().await;
    let lock = database.lock_indexes("queries").await.expect("nobody has it");
    let refused = upkeep::apply(&database, &queries(), &Policy::default(), &|_| {}).await;
    let upkeep::Error::Store { source, .. } = refused.expect_err("it is held");
    assert!(matches!(*source, store::Error::IndexesLocked { .. }), "{source}");
    lock.release().await.expect("the lock was held all along");
    apply(&database, &Policy::default()).await;
}

#[tokio::test]
async fn tables_of_other_collections_are_found_and_indexed_for_their_own_distance() {
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
    upkeep::apply(&database, &table, &Policy::default(), &|_| {}).await.expect("the plan is carried out");
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
