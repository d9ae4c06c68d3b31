//! Replicas that fail, lag, or cancel reads.

use std::sync::{Mutex, mpsc};

use store::postgres::{ResultSelection, StoredJudgement};
use test_support::CuttingProxy;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_that_conflicts_with_what_is_replayed_is_repeated_on_the_primary() {
    const ROWS: usize = 20_000;
    let replicated = Replicated::start(1, &[("max_standby_streaming_delay", "0")]).await;
    let fill = format!(
        "insert into evaluation_results (id, query_id, theme)
        select n::text, n::text, repeat(md5(n::text), 32) from generate_series(1, {ROWS}) n"
    );
    replicated.cluster.primary().execute(&fill).await;
    replicated.cluster.wait_for_replay(1).await;
    let url = replicated.cluster.primary().url();
    let (begun, has_begun) = mpsc::channel();
    let (locked, has_locked) = mpsc::channel();
    let conflict = std::thread::spawn(move || {
        has_begun.recv().expect("the read begins");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            use sqlx::Connection as _;
            let mut connection = sqlx::PgConnection::connect(&url).await.expect("the primary answers");
            let lock = "begin; lock table evaluation_results in access exclusive mode; commit";
            sqlx::raw_sql(lock).execute(&mut connection).await.expect("the table is locked");
        });
        locked.send(()).expect("the read waits");
    });
    let signals = Mutex::new(Some((begun, has_locked)));
    let add = |rows: &mut usize, _: StoredJudgement<'_>| {
        *rows += 1;
        // After the first row, most others are still on the server.
        if let Some((begun, has_locked)) = signals.lock().expect("no holder panics").take() {
            begun.send(()).expect("the thread waits");
            has_locked.recv().expect("the thread locks");
        }
    };
    let gathered = replicated.database.gather_judgements(&ResultSelection::default(), add).await;
    assert_eq!(gathered.expect("the primary answers"), ROWS);
    conflict.join().expect("the thread ends");
    let servers = replicated.database.read_servers();
    assert_eq!(reads(&replicated.database), (1, 0), "{servers:?}");
    assert_eq!(
        (servers[1].passed_on, &servers[1].problem),
        (1, &None),
        "a conflict is no failure of the replica"
    );
}

#[tokio::test]
async fn killed_replica_rests_without_a_failed_read_and_returns() {
    let mut replicated = Replicated::start(2, &[]).await;
    replicated.store("1").await;
    replicated.wait_until(|replicas| replicas.iter().all(|replica| replica.problem.is_none())).await;
    for _ in 0..20 {
        assert!(found(&replicated.queries, "1").await.is_some());
    }
    replicated.cluster.server_mut(1).kill();
    let end = Instant::now() + PATIENCE;
    while replicated.database.read_servers()[1].problem.is_none() {
        assert!(found(&replicated.queries, "1").await.is_some(), "a read fails while a replica dies");
        assert!(Instant::now() < end, "the replica rests");
    }
    let problem = replicated.database.read_servers()[1].problem.clone();
    for _ in 0..20 {
        assert!(found(&replicated.queries, "1").await.is_some());
    }
    replicated.cluster.server_mut(1).restart().await;
    replicated.wait_until(|replicas| replicas[0].problem.is_none()).await;
    let before = replicated.database.read_servers()[1].reads;
    for _ in 0..20 {
        assert!(found(&replicated.queries, "1").await.is_some());
    }
    assert!(replicated.database.read_servers()[1].reads > before, "{problem:?}");
    // Without any replica, too.
    for standby in [1, 2] {
        replicated.cluster.server_mut(standby).kill();
    }
    let on_primary = reads(&replicated.database).0;
    for _ in 0..20 {
        assert!(found(&replicated.queries, "1").await.is_some());
    }
    assert!(reads(&replicated.database).0 > on_primary);
    // It starts without them, too.
    let urls = [replicated.cluster.server(1).url()];
    let (database, queries) = process(&replicated.cluster, &urls, MAX_LAG).await;
    assert!(found(&queries, "1").await.is_some());
    let problem = database.read_servers()[1].problem.clone().expect("it is down");
    assert!(problem.contains("refused"), "{problem}");
}

#[tokio::test]
async fn reads_on_a_replica_that_no_longer_answers_are_answered_by_the_primary() {
    let replicated = Replicated::start(1, &[]).await;
    replicated.store("1").await;
    replicated.cluster.wait_for_replay(1).await;
    let proxy = CuttingProxy::start(&replicated.cluster.server(1).url());
    let (database, queries) = process(&replicated.cluster, &[proxy.url().to_owned()], MAX_LAG).await;
    assert!(found(&queries, "1").await.is_some());
    assert_eq!(reads(&database), (0, 1));
    proxy.stall();
    let answered = tokio::time::timeout(PATIENCE, found(&queries, "1")).await;
    assert!(answered.expect("the read does not hang").is_some());
    let problem = database.read_servers()[1].problem.clone().expect("it rests");
    assert!(problem.contains("does not answer within"), "{problem}");
    proxy.resume();
    wait_until(&database, |replicas| replicas[0].problem.is_none()).await;
    proxy.cut();
    assert!(found(&queries, "1").await.is_some(), "the connections are lost, and others are made");
}

#[tokio::test]
async fn replica_that_lags_beyond_the_limit_rests_until_it_has_caught_up() {
    let replicated = Replicated::start(1, &[]).await;
    let urls = [replicated.cluster.server(1).url()];
    let (database, queries) = process(&replicated.cluster, &urls, Duration::from_secs(1)).await;
    store(&queries, "1").await;
    replicated.cluster.wait_for_replay(1).await;
    replicated.cluster.pause_replay(1).await;
    store(&queries, "2").await;
    wait_until(&database, |replicas| replicas[0].problem.is_some()).await;
    let replica = database.read_servers()[1].clone();
    let problem = replica.problem.expect("it rests");
    assert!(problem.contains("behind the primary, more than the limit of 1 s"), "{problem}");
    let lag = replica.lag.expect("it is measured");
    assert!(lag.bytes > 0 && lag.time > Duration::from_secs(1), "{lag:?}");
    assert_eq!(found(&queries, "2").await.map(|record| record.id).as_deref(), Some("2"));
    replicated.cluster.resume_replay(1).await;
    wait_until(&database, |replicas| {
        replicas[0].problem.is_none() && replicas[0].lag.is_some_and(|lag| lag.bytes == 0)
    })
    .await;
    let before = reads(&database).1;
    assert!(found(&queries, "2").await.is_some());
    assert_eq!(reads(&database).1, before + 1);
}

#[tokio::test]
async fn promoted_replica_answers_no_reads_as_a_replica() {
    let mut replicated = Replicated::start(2, &[]).await;
    replicated.store("1").await;
    replicated.cluster.promote(1).await;
    replicated.wait_until(|replicas| replicas[0].problem.is_some()).await;
    let problem = replicated.database.read_servers()[1].problem.clone().expect("it rests");
    assert!(problem.contains("accepts writes"), "{problem}");
    assert!(found(&replicated.queries, "1").await.is_some());
}
