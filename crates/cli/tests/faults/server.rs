//! PostgreSQL crashes under load and restarts.

use provision::Durability;
use test_support::{PostgresServer, SmallTablespace};

use super::{Migration, Random, finish};

#[tokio::test]
async fn server_killed_under_load_keeps_rows_and_progress_together_and_the_run_resumes() {
    let mut random = Random::seeded();
    let mut server = PostgresServer::private(Durability::Full, &[]).await;
    let migration = Migration::new(&server.url(), 4_000, "50");
    let mut written = 0;
    for _ in 0..4 {
        let mut gate = migration.gate(written + 100 + random.below(400).cast_signed()).await;
        let mut child = migration.start();
        gate.is_reached(&mut child).await;
        server.kill();
        let ended = finish(child).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains("error: failed to copy into table `items`"), "{ended:?}");
        let down = migration.run().await;
        assert_eq!(down.code, 1, "{down:?}");
        assert!(down.stderr.contains(" in DATABASE_URL"), "{down:?}");
        server.restart().await;
        let held = migration.held().await;
        assert_eq!(held.rows, held.noted, "{held:?}");
        // The last batches may be lost, since their commits did not wait for the disk; their progress is lost with them.
        written = held.noted;
    }
    migration.finishes_complete().await;
}

#[tokio::test]
async fn full_disk_ends_a_migration_that_resumes_once_there_is_space() {
    let server = PostgresServer::private(Durability::None, &[]).await;
    let Some(mut space) = SmallTablespace::create(&server, "small", 3).await else { return };
    let migration = Migration::new(space.url(), 8_000, "100");
    for _ in 0..2 {
        let full = migration.run().await;
        assert_eq!(full.code, 1, "{full:?}");
        assert!(full.stderr.contains("No space left on device"), "{full:?}");
        let held = migration.held().await;
        assert!(held.rows > 0 && held.rows == held.noted, "{held:?}");
    }
    space.grow(64);
    migration.finishes_complete().await;
}
