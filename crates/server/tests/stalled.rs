//! Clients that request large responses and do not read them.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::served::{PATIENCE, Served};

/// Concurrent exports of a process.
const PLACES: usize = 16;

/// Stores `count` queries of a megabyte; together they exceed the buffers of a connection.
pub(crate) async fn store_megabytes(served: &Served, theme: &str, count: usize) {
    served
        .execute(&format!(
            "insert into queries (embedding, query_text, theme)
                select array_fill(0.5, array[384])::real[]::vector, n || repeat('q', 1000000), '{theme}'
                from generate_series(1, {count}) n"
        ))
        .await;
}

/// Begins an export, of which the client reads nothing.
pub(crate) async fn begin_export(served: &Served, theme: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(served.address).await.expect("the service listens");
    let head = format!(
        "GET /api/v1/queries/export?theme={theme} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut status = [0; 12];
    stream.peek(&mut status).await.expect("the response begins");
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// Whether the export is complete, after reading all of it.
async fn is_complete(mut stream: TcpStream) -> bool {
    let mut response = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut response)).await;
    // A closed connection may be reset.
    read.expect("it ends in time").ok();
    response.ends_with(b"\r\n0\r\n\r\n")
}

#[tokio::test]
async fn export_that_is_not_read_occupies_nothing_that_other_large_responses_need() {
    let served = Served::start().await;
    store_megabytes(&served, "large", 40).await;
    let mut stalled = Vec::new();
    for _ in 0..PLACES - 1 {
        stalled.push(begin_export(&served, "large").await);
    }
    for _ in 0..3 {
        let large = served.get("/api/v1/queries?theme=large&limit=3");
        let large = tokio::time::timeout(PATIENCE, large).await.expect("it answers in time");
        assert_eq!(large.data()["items"].as_array().map(Vec::len), Some(3));
    }
    let exported = tokio::time::timeout(PATIENCE, served.get("/api/v1/queries/export?theme=large")).await;
    assert_eq!(exported.expect("it is exported in time").text.lines().count(), 40);
    let last = stalled.pop().expect("there are some");
    assert!(is_complete(last).await, "there was a place for everyone");
}

#[tokio::test]
async fn client_that_stops_reading_loses_its_place_when_another_needs_it() {
    let served = Served::start().await;
    store_megabytes(&served, "large", 12).await;
    store_megabytes(&served, "small", 1).await;
    let mut exports = Vec::new();
    for _ in 0..PLACES {
        exports.push(begin_export(&served, "large").await);
    }
    let found = served.wait_until("/api/v1/queries/export?theme=small", |answer| answer.status != 503).await;
    assert_eq!((found.status, found.text.lines().count()), (200, 1));
    let mut complete = 0;
    for export in exports {
        complete += usize::from(is_complete(export).await);
    }
    assert_eq!(complete, PLACES - 1, "one place was needed");
}
