//! The pooler in front of a real server.

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgConnectOptions,
};
use test_support::{PgBouncer, TestDatabase};

async fn connect(pooler: &PgBouncer) -> PgConnection {
    let options: PgConnectOptions = pooler.url().parse().expect("the pooler's URL is one");
    let options = options.extra_float_digits(None).statement_cache_capacity(0);
    options.connect().await.expect("the pooler answers")
}

async fn backend(connection: &mut PgConnection) -> i32 {
    connection.fetch_one("select pg_backend_pid()").await.expect("the query runs").get(0)
}

#[tokio::test]
async fn pooler_shares_few_connections_by_transaction() {
    let database = TestDatabase::create().await;
    let Some(pooler) = PgBouncer::start(&database.url(), 2).await else { return };
    let refused = PgConnection::connect(pooler.url()).await.expect_err("sqlx sends a setting at startup");
    assert!(refused.to_string().contains("unsupported startup parameter"), "{refused}");

    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(connect(&pooler).await);
    }
    let mut backends = Vec::new();
    for client in &mut clients {
        let row = client.fetch_one("select current_database()::text").await.expect("the query runs");
        assert!(database.url().ends_with(row.get::<&str, _>(0)));
        backends.push(backend(client).await);
    }
    backends.sort_unstable();
    backends.dedup();
    assert!(backends.len() <= 2, "five clients share a pool of two: {backends:?}");

    clients[0].execute("begin").await.expect("a transaction begins");
    let first = backend(&mut clients[0]).await;
    assert_ne!(backend(&mut clients[1]).await, first, "a transaction keeps its connection");
    assert_eq!(backend(&mut clients[0]).await, first);
    clients[0].execute("commit").await.expect("it ends");
    assert!(pooler.log().contains("login attempt"), "{}", pooler.log());
}
