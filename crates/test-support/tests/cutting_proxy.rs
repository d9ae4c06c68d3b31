//! The proxy in front of a real server.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use test_support::{CuttingProxy, TestDatabase};

#[tokio::test]
async fn cut_ends_all_connections_and_forwards_new_ones() {
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::start(&database.url());
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(PgConnection::connect(proxy.url()).await.expect("the proxy forwards"));
    }
    assert_eq!(proxy.cut(), 3);
    for connection in &mut connections {
        let error = connection.execute("select 1").await.expect_err("the connection is cut");
        let sqlx::Error::Io(error) = error else { panic!("expected a network error, found {error}") };
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    }
    let mut again = PgConnection::connect(proxy.url()).await.expect("new connections pass");
    let row = again.fetch_one("select 'answer'").await.expect("and work");
    assert_eq!(row.get::<&str, _>(0), "answer");
    let counters = proxy.counters();
    assert_eq!((counters.connections, counters.resets), (4, 3));
    assert!(counters.bytes_to_server > 0 && counters.bytes_to_client > 0, "{counters:?}");
}

#[tokio::test]
async fn cut_after_bytes_prevents_a_statement_or_discards_its_answer() {
    let database = TestDatabase::create().await;
    database.execute("create table written (n int)").await;
    let proxy = CuttingProxy::start(&database.url());
    let insert = "insert into written values (1)";
    // A simple query: type, length, text, NUL.
    let length = insert.len() as u64 + 6;
    for (count, expected_rows) in [(length - 1, 0), (length, 1)] {
        let mut connection = PgConnection::connect(proxy.url()).await.expect("the proxy forwards");
        let before = proxy.counters();
        proxy.cut_after_bytes(count);
        connection.execute(insert).await.expect_err("the connection is cut");
        let after = proxy.counters();
        assert_eq!(after.bytes_to_server - before.bytes_to_server, count);
        assert_eq!(after.resets - before.resets, 1);
        until_alone(&database).await;
        let mut connection = PgConnection::connect(proxy.url()).await.expect("new connections pass");
        let row = connection.fetch_one("select count(*) from written").await.expect("and work");
        assert_eq!(row.get::<i64, _>(0), expected_rows, "cut after {count} bytes of {length}");
        connection.close().await.expect("it closes");
    }
}

/// Waits until the server has noticed that other connections are gone.
async fn until_alone(database: &TestDatabase) {
    let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    let mut connection = database.connection().await;
    let wait = async {
        while connection.fetch_one(others).await.expect("the query runs").get::<i64, _>(0) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the server notices the cut");
}

#[test]
fn cut_after_bytes_delivers_exactly_that_many_bytes() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = server.local_addr().expect("the listener has an address");
    let proxy = CuttingProxy::start(&format!("postgresql://127.0.0.1:{}", address.port()));
    let count = 5_000_000;
    proxy.cut_after_bytes(count);
    let port = proxy.url().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the proxy listens");
    let writer = std::thread::spawn(move || {
        loop {
            if let Err(error) = client.write_all(&[7; 10_000]) {
                return error.kind();
            }
        }
    });
    let (mut received, _) = server.accept().expect("the proxy connects");
    received.write_all(b"an answer that is not read").expect("an answer can be sent");
    let mut bytes = Vec::new();
    received.read_to_end(&mut bytes).expect("the end is orderly");
    assert_eq!(bytes.len() as u64, count);
    let error = writer.join().expect("the writer does not panic");
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

#[tokio::test]
async fn stalled_proxy_forwards_nothing_until_it_resumes() {
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::start(&database.url());
    let mut connection = PgConnection::connect(proxy.url()).await.expect("the proxy forwards");
    proxy.stall();
    let before = proxy.counters();
    let short = Duration::from_millis(200);
    let asked = tokio::spawn(async move { connection.execute("select 1").await.map(|_| ()) });
    let connected = tokio::time::timeout(short, PgConnection::connect(proxy.url())).await;
    assert!(connected.is_err(), "a new connection waits");
    assert!(!asked.is_finished(), "the old one does too");
    assert_eq!(proxy.counters().bytes_to_server, before.bytes_to_server);
    proxy.resume();
    asked.await.expect("the task ends").expect("the answer arrives");
}

#[tokio::test]
async fn refusing_proxy_lets_no_connection_in_until_it_accepts() {
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::start(&database.url());
    let mut connection = PgConnection::connect(proxy.url()).await.expect("the proxy forwards");
    proxy.refuse();
    connection.execute("select 1").await.expect_err("the connection is reset");
    PgConnection::connect(proxy.url()).await.expect_err("no new one is made");
    proxy.accept();
    let mut again = PgConnection::connect(proxy.url()).await.expect("new connections pass");
    again.execute("select 1").await.expect("and work");
}

#[tokio::test]
async fn recording_proxy_notes_the_statements_of_all_connections() {
    let database = TestDatabase::create().await;
    let proxy = CuttingProxy::recording(&database.url());
    let mut connection = PgConnection::connect(proxy.url()).await.expect("the proxy forwards");
    connection.execute("begin; select 1; commit").await.expect("the statements run");
    sqlx::query("select $1::int").bind(7).execute(&mut connection).await.expect("the statement runs");
    assert_eq!(proxy.take_statements(), ["begin; select 1; commit", "select $1::int"]);
    assert_eq!(proxy.take_statements(), [""; 0]);
}
