//! Faults of the network to PostgreSQL.

use rustix::process::Signal;
use test_support::{CuttingProxy, TestDatabase};

use super::{Migration, Random, empty, finish, signals::send};

#[tokio::test]
async fn connections_cut_after_any_number_of_bytes_lose_nothing() {
    let mut random = Random::seeded();
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::start(&database.url());
    let migration = Migration::new(&database.url(), 3_000, "100").through(proxy.url());
    let ended = migration.run().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let all = proxy.counters().bytes_to_server;
    empty(&database).await;

    let (mut failed, mut written) = (0, 0);
    for _ in 0..14 {
        proxy.cut_after_bytes(1 + random.below(all / 2));
        let ended = migration.run().await;
        let held = migration.held().await;
        assert_eq!((held.rows, held.distinct_source_ids), (held.noted, held.noted), "{held:?}");
        assert!(held.noted >= written, "{held:?}");
        written = held.noted;
        match ended.code {
            // Fewer bytes were sent than the limit: start again.
            0 => {
                empty(&database).await;
                written = 0;
            }
            1 => {
                assert!(ended.stderr.contains("error: failed to "), "{ended:?}");
                failed += 1;
            }
            code => panic!("{code}: {ended:?}"),
        }
    }
    println!("{failed} of 14 runs failed at the cut");
    // The run after a completed one starts from nothing, and is cut in its first half.
    assert!(failed >= 7, "connections were cut while in use");
    // The last cut may still be pending.
    proxy.cut_after_bytes(u64::MAX / 2);
    migration.finishes_complete().await;
}

#[tokio::test]
async fn stalled_network_leaves_a_process_that_a_signal_ends() {
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::start(&database.url());
    let migration = Migration::new(&database.url(), 4_000, "20").through(proxy.url());
    let mut gate = migration.gate(200).await;
    let mut child = migration.start();
    gate.is_reached(&mut child).await;
    proxy.stall();
    gate.open().await;
    send(&child, Signal::INT);
    let ended = finish(child).await;
    assert_eq!(ended.code, 130, "{ended:?}");
    proxy.resume();
    migration.finishes_complete().await;
}
