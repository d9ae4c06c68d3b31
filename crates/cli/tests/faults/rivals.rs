//! Concurrent migrations.

use test_support::{CuttingProxy, TestDatabase};

use super::{Migration, finish};

#[tokio::test]
async fn second_migration_into_a_table_is_refused_and_the_first_completes() {
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::start(&database.url());
    let migration = Migration::new(&database.url(), 4_000, "20").through(proxy.url());
    let mut first = migration.start();
    migration.has_written(200, &mut first).await;
    // The first migration waits for the network until the second one has ended.
    proxy.stall();
    let migration = migration.through(&database.url());
    let second = migration.run().await;
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.stderr.contains("another migration holds table `items`"), "{second:?}");
    proxy.resume();
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
