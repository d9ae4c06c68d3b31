//! A primary with standbys.

use sqlx::{Connection as _, PgConnection};
use test_support::{PostgresCluster, PostgresServer, Replication};

async fn count(server: &PostgresServer) -> i64 {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server answers");
    sqlx::query_scalar("select count(*) from kept").fetch_one(&mut connection).await.expect("the query runs")
}

#[tokio::test]
async fn standbys_stream_pause_and_take_over_with_every_acknowledged_commit() {
    let mut cluster = PostgresCluster::start(2, Replication::Synchronous, &[]).await;
    cluster.primary().execute("create table kept (n int)").await;
    for number in [1, 2] {
        cluster.wait_for_replay(number).await;
        assert_eq!(count(cluster.server(number)).await, 0, "{number}");
    }
    cluster.pause_replay(1).await;
    cluster.primary().execute("insert into kept values (1)").await;
    cluster.wait_for_replay(2).await;
    assert_eq!((count(cluster.server(1)).await, count(cluster.server(2)).await), (0, 1));
    cluster.resume_replay(1).await;
    cluster.wait_for_replay(1).await;
    assert_eq!(count(cluster.server(1)).await, 1);

    // Only the second one has the row that is written now.
    cluster.server_mut(1).stop();
    cluster.primary().execute("insert into kept values (2)").await;
    cluster.server_mut(1).restart().await;
    assert!(count(cluster.server(1)).await >= 1, "it is a standby again");
    let promoted = cluster.fail_over().await;
    assert_eq!(
        (cluster.primary_number(), cluster.primary().port()),
        (promoted, cluster.server(promoted).port())
    );
    cluster.primary().execute("insert into kept values (3)").await;
    let other = 3 - promoted;
    cluster.wait_for_replay(other).await;
    assert_eq!((count(cluster.primary()).await, count(cluster.server(other)).await), (3, 3));
}

#[tokio::test]
async fn url_names_the_servers_in_the_given_order() {
    let cluster = PostgresCluster::start(1, Replication::Asynchronous, &[("work_mem", "5MB")]).await;
    let [first, second] = [0, 1].map(|number| cluster.server(number).port());
    let url = cluster.url_of(&[1, 0], "target_session_attrs=any");
    let wanted = format!("@127.0.0.1:{second},127.0.0.1:{first}/panopticon?target_session_attrs=any");
    assert!(url.ends_with(&wanted), "{url}");
    let mut connection = PgConnection::connect(&cluster.server(1).url()).await.expect("the standby answers");
    let work_mem: String =
        sqlx::query_scalar("show work_mem").fetch_one(&mut connection).await.expect("the query runs");
    assert_eq!(work_mem, "5MB");
}
