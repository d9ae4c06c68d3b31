//! Test databases.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::mpsc,
    thread,
};

use test_support::TestDatabase;
use tokio::sync::oneshot;
use url::Url;

/// A connection that PostgreSQL has asked for its password.
fn asked_for_a_password(database: &Url) -> TcpStream {
    let address = (database.host_str().expect("a host"), database.port().expect("a port"));
    let mut connection = TcpStream::connect(address).expect("the server listens");
    let parameters = format!("user\0{}\0database\0{}\0\0", database.username(), name_of(database));
    let length = u32::try_from(parameters.len() + 8).expect("it is short");
    let version = 3_u32 << 16;
    let startup = [&length.to_be_bytes(), &version.to_be_bytes(), parameters.as_bytes()].concat();
    connection.write_all(&startup).expect("it is sent");
    let mut kind = [0];
    connection.read_exact(&mut kind).expect("the server answers");
    assert_eq!(&kind, b"R", "it asks for the password");
    connection
}

fn name_of(database: &Url) -> String {
    database.path().trim_start_matches('/').to_owned()
}

async fn exists(observer: &TestDatabase, database: &Url) -> bool {
    let names = observer.texts("select datname::text from pg_database").await;
    names.contains(&name_of(database))
}

#[tokio::test]
async fn database_is_dropped_with_its_thread_after_the_connections() {
    let observer = TestDatabase::create().await;
    let database = TestDatabase::create().await;
    let url = Url::parse(&database.url()).expect("a URL");
    let (done, is_done) = oneshot::channel();
    let (seen, is_seen) = mpsc::channel::<()>();
    let test = {
        let url = url.clone();
        thread::spawn(move || {
            let connection = asked_for_a_password(&url);
            // PostgreSQL drops it once the connection has sent its password, which this thread does not do while it waits.
            drop(database);
            done.send(()).expect("the test waits");
            is_seen.recv().expect_err("nothing is sent");
            drop(connection);
        })
    };
    is_done.await.expect("no panic");
    assert!(exists(&observer, &url).await, "the drop was not waited for");
    drop(seen);
    tokio::task::spawn_blocking(|| test.join()).await.expect("it joins").expect("no panic");
    assert!(!exists(&observer, &url).await, "it was dropped with its thread");
}

#[tokio::test]
async fn login_computes_one_hash() {
    let database = TestDatabase::create().await;
    let verifiers = database.texts("select rolpassword from pg_authid where rolname = current_user").await;
    assert!(verifiers[0].starts_with("SCRAM-SHA-256$1:"), "{}", verifiers.len());
}
