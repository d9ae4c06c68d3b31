//! A commit whose message or response is lost.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use migrate::{Event, Observer, Step};
use test_support::{CuttingProxy, TestDatabase};

use super::{Directory, migrate, resumes_to_the_end};

/// Query message of PostgreSQL's protocol: its letter, its length in four bytes without the letter, the text, a zero.
pub(super) const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";

#[tokio::test]
async fn connection_lost_during_a_commit_leaves_the_batch_complete_or_absent() {
    let (directory, database) = (Directory::new(), TestDatabase::create().await);
    let whole = COMMIT.len() as u64;
    for delivered in [1, 5, whole - 1, whole] {
        let proxy = Arc::new(CuttingProxy::start(&database.url()));
        let (cutting, batches) = (proxy.clone(), AtomicUsize::new(0));
        let observer: Observer = Arc::new(move |event| {
            if event == Event::Step(Step::BatchSent) && batches.fetch_add(1, Ordering::Relaxed) == 1 {
                cutting.cut_within(COMMIT, delivered);
            }
        });
        let error = migrate(directory.path(), proxy.url(), &observer).await.expect_err("the network fails");
        assert!(matches!(error, migrate::Error::Store { .. } | migrate::Error::Database(_)), "{error}");
        assert_eq!(proxy.counters().resets, 1);
        let mut connection = database.connection().await;
        let counts: (i64, i64) = sqlx::query_as(
            "select (select count(*) from items), (select sum(written)::bigint from migration_jobs)",
        )
        .fetch_one(&mut connection)
        .await
        .expect("rows can be counted");
        assert_eq!(counts.0, counts.1, "rows and progress are committed together");
    }
    resumes_to_the_end(&directory, &database).await;
}
