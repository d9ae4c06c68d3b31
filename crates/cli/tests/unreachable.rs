//! Errors of connections say what happened, where, and what to do, without the password or the driver's words.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use test_support::TestDatabase;

use crate::{Run, panopticon, run};

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

/// A server that treats each connection by `treat`, until the test process ends.
fn server(treat: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            treat(stream.expect("a client"));
        }
    });
    port
}

fn request(stream: &mut TcpStream) {
    // The client may have gone.
    // Whatever the client does, it gets this answer.
    let _ = stream.read(&mut [0; 1024]);
}

/// Answers like a web server.
fn web(mut stream: TcpStream) {
    request(&mut stream);
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

/// Rejects TLS as PostgreSQL does, and then answers like a web server.
fn web_without_tls(mut stream: TcpStream) {
    request(&mut stream);
    let _ = stream.write_all(b"N");
    web(stream);
}

fn closing(mut stream: TcpStream) {
    request(&mut stream);
}

fn silent(stream: TcpStream) {
    // Open until the process ends.
    std::mem::forget(stream);
}

fn check(ended: &Run, address: &str, expected: &[&str]) {
    let text = &ended.stderr;
    assert_eq!((ended.code, text.lines().count(), ended.stdout.as_str()), (1, 1, ""), "{ended:?}");
    assert!(text.contains(&format!("PostgreSQL at {address}: ")), "{text}");
    assert!(expected.iter().all(|part| text.contains(part)), "{expected:?}: {text}");
    for words in
        ["s3cret", "SSLRequest", "communicating", "returned from", "pool", "expected to read", "os error"]
    {
        assert!(!text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn servers_that_are_absent_or_no_postgresql_are_named_with_the_remedy() {
    blocking(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ended = |url: &str, arguments: &[&str]| {
            run(panopticon(folder.path(), arguments).env("DATABASE_URL", url))
        };
        let (listens, corrects) = ("check that PostgreSQL listens there", "host and port in DATABASE_URL");
        let web_port = server(web);
        for arguments in [
            &["serve"][..],
            &["serve", "query"],
            &["serve", "chroma"],
            &["migrate", "--undo", "4a5b0a4e-7f0c-4ad0-9b77-0d7b5a4f1a11"],
            &["doctor"],
            &["search", "query", "x"],
            &["index", "status"],
            &["maintain", "--dry-run"],
        ] {
            let refused = ended("postgresql://u:s3cret@127.0.0.1:1/d", arguments);
            check(&refused, "127.0.0.1:1/d", &["connection refused: start the server", corrects]);
            let web = ended(&format!("postgresql://u:s3cret@127.0.0.1:{web_port}/d"), arguments);
            check(
                &web,
                &format!("127.0.0.1:{web_port}/d"),
                &["does not answer as PostgreSQL", listens, corrects],
            );
        }
        for (treat, parameters) in [
            (web as fn(TcpStream), "sslmode=disable"),
            (web, "sslmode=require"),
            (web_without_tls, "sslmode=prefer"),
            (closing, "sslmode=disable"),
            (closing, "sslmode=prefer"),
            (closing, "sslmode=require"),
            (silent, "connect_timeout=2"),
        ] {
            let port = server(treat);
            let url = format!("postgresql://u:s3cret@127.0.0.1:{port}/d?{parameters}");
            check(&ended(&url, &["doctor"]), &format!("127.0.0.1:{port}/d"), &[listens, corrects]);
        }
        let unknown = ended("postgresql://u:s3cret@no-such-host.invalid:5432/d", &["doctor"]);
        check(
            &unknown,
            "no-such-host.invalid:5432/d",
            &["the name of the host is unknown", "correct the host in"],
        );
        let socket = ended("postgresql://u:s3cret@/d?host=/no/such/folder", &["doctor"]);
        check(&socket, "/no/such/folder:5432/d", &["no socket is there: start the server"]);
    })
    .await;
}

#[tokio::test]
async fn rejections_of_postgresql_are_shown_with_the_remedy() {
    let database = TestDatabase::create().await;
    let mut url = url::Url::parse(&database.url()).expect("a URL");
    let role = format!("few_{}", std::process::id());
    database
        .execute(&format!(
            "drop role if exists {role}; create role {role} login password 's3cret' connection limit 0"
        ))
        .await;
    let (own, few) = (url.clone(), role.clone());
    blocking(move || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let check = |url: &url::Url, expected: &[&str]| {
            let ended = run(panopticon(folder.path(), &["doctor"]).env("DATABASE_URL", url.as_str()));
            let text = &ended.stderr;
            assert_eq!((ended.code, text.lines().count()), (1, 1), "{ended:?}");
            assert!(expected.iter().all(|part| text.contains(part)), "{expected:?}: {text}");
            assert!(!text.contains("s3cret") && !text.contains("returned from"), "{text}");
        };
        url.set_password(Some("s3cret-wrong")).expect("it has a host");
        check(&url, &["password authentication failed", "correct the user and password in DATABASE_URL"]);
        url.clone_from(&own);
        url.set_path("/no_such_database");
        check(&url, &["\"no_such_database\" does not exist: create it", "in DATABASE_URL"]);
        url.clone_from(&own);
        url.set_query(Some("sslmode=require"));
        check(&url, &["does not support TLS", "sslmode=prefer in DATABASE_URL"]);
        url.clone_from(&own);
        url.set_username(&few).expect("it has a host");
        url.set_password(Some("s3cret")).expect("it has a host");
        check(&url, &["too many connections", "raise the limit"]);
    })
    .await;
    database.execute(&format!("drop role {role}")).await;
}
