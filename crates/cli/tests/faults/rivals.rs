//! Concurrent migrations.

use test_support::TestDatabase;

use super::{Migration, finish};

#[tokio::test]
async fn second_migration_into_a_table_is_refused_and_the_first_completes() {
    let database = TestDatabase::create().await;
    let migration = Migration::new(&database.url(), 4_000, "20");
    let mut gate = migration.gate(200).await;
    let mut first = migration.start();
    gate.is_reached(&mut first).await;
    let second = migration.run().await;
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.stderr.contains("table `items` is locked by another migration"), "{second:?}");
    gate.open().await;
    let first = finish(first).await;
    assert_eq!(first.code, 0, "{first:?}");
    migration.is_complete().await;
    assert_eq!(migration.held().await.statuses, ["complete"]);
}

#[tokio::test]
async fn two_migrations_that_start_together_copy_each_record_once() {
    let database = TestDatabase::create().await;
    let migration = Migration::new(&database.url(), 2_000, "100");
    let (one, other) = (migration.start(), migration.start());
    let mut codes = [finish(one).await.code, finish(other).await.code];
    codes.sort_unstable();
    // The second one starts while the first is running, or after it.
    assert!(matches!(codes, [0, 5] | [0, 0]), "{codes:?}");
    migration.is_complete().await;
}
