//! Requests that Chromium 156 sent to 127.0.0.1 on behalf of pages of other origins, without the headers that name
//! the browser. A page cannot forge the others: the browser sets them.

use serde_json::json;

use crate::{access::status_of, served::Served};

/// Heads and bodies sent by a page of another local origin.
const FOREIGN: [(&str, &str); 9] = [
    // A Blob without a type, `mode: "no-cors"`.
    (
        "POST /api/v1/queries HTTP/1.1\r\nHost: HERE\r\nAccept: */*\r\nOrigin: http://localhost:21062\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\nReferer: http://localhost:21062/",
        r#"{"id":"from-chromium","query":"stored by a web page","theme":"csrf"}"#,
    ),
    (
        "POST /api/v1/models HTTP/1.1\r\nHost: HERE\r\nAccept: */*\r\nOrigin: http://localhost:21062\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\nReferer: http://localhost:21062/",
        r#"{"id":"gpt-csrf","provider":"openai"}"#,
    ),
    (
        "POST /api/v1/runs/00000000-0000-4000-8000-000000000000/cancel HTTP/1.1\r\nHost: HERE\r\nAccept: */*\r\nOrigin: http://localhost:21062\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\nReferer: http://localhost:21062/",
        "{}",
    ),
    // A form with `enctype="text/plain"`, in a frame.
    (
        "POST /api/v1/queries HTTP/1.1\r\nHost: HERE\r\nUpgrade-Insecure-Requests: 1\r\nContent-Type: text/plain\r\nOrigin: http://localhost:21062\r\nAccept: text/html,*/*;q=0.8\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nSec-Fetch-Storage-Access: none\r\nReferer: http://localhost:21062/",
        "{\"query\":\"x\",\"theme\":\"t\",\"a\":\"=\"}\r\n",
    ),
    // `navigator.sendBeacon`.
    (
        "POST /api/v1/models HTTP/1.1\r\nHost: HERE\r\nContent-Type: text/plain\r\nAccept: */*\r\nOrigin: http://localhost:21062\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Storage-Access: none\r\nReferer: http://localhost:21062/",
        r#"{"id":"b","provider":"openai"}"#,
    ),
    // The preflight request for JSON.
    (
        "OPTIONS /api/v1/queries HTTP/1.1\r\nHost: HERE\r\nAccept: */*\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\nOrigin: http://localhost:21062\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: empty\r\nReferer: http://localhost:21062/",
        "",
    ),
    // An image: the server would do the work although the page cannot read the response.
    (
        "GET /api/v1/queries/export HTTP/1.1\r\nHost: HERE\r\nAccept: image/avif,image/*,*/*;q=0.8\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nSec-Fetch-Storage-Access: none\r\nReferer: http://localhost:21062/",
        "",
    ),
    (
        "GET /api/v1/queries/count HTTP/1.1\r\nHost: HERE\r\nAccept: */*\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\nReferer: http://localhost:21062/",
        "",
    ),
    // A WebSocket, which comes without `Sec-Fetch-Site`.
    (
        "GET /api/v1/runs HTTP/1.1\r\nHost: HERE\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\nOrigin: http://localhost:21062\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: fIbpL5m/w1U1rfxEqo6ipg==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "",
    ),
];

/// A page whose name now resolves to this machine: its requests are same-origin, and have neither `Origin` nor
/// `Sec-Fetch-Site`, since the origin is not trustworthy.
const REBOUND: [&str; 3] = [
    "GET /api/v1/queries?limit=2 HTTP/1.1\r\nHost: rebound.example:21060\r\nAccept: */*\r\nReferer: http://rebound.example:21060/\r\nAccept-Encoding: gzip, deflate",
    "DELETE /api/v1/queries/csrf-1 HTTP/1.1\r\nHost: rebound.example:21060\r\nAccept: */*\r\nOrigin: http://rebound.example:21060\r\nReferer: http://rebound.example:21060/\r\nAccept-Encoding: gzip, deflate",
    "GET /api/v1/queries/export HTTP/1.1\r\nHost: rebound.example:21060\r\nUpgrade-Insecure-Requests: 1\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate",
];

#[tokio::test]
async fn requests_of_foreign_pages_in_a_browser_read_and_change_nothing() {
    let served = Served::start().await;
    let stored = json!({"id": "csrf-1", "query": "a secret", "theme": "t"});
    served.post("/api/v1/queries", stored).await.data();
    for (head, body) in FOREIGN {
        let head = head.replace("HERE", &served.address.to_string());
        assert_eq!(status_of(&served, &head, body).await, "403", "{head}");
    }
    for head in REBOUND {
        assert_eq!(status_of(&served, head, "").await, "421", "{head}");
    }
    assert_eq!(served.get("/api/v1/queries/count").await.data()["count"], 1);
    served.get("/api/v1/queries/csrf-1").await.data();
    let models = served.get("/api/v1/models").await.text;
    assert!(!models.contains("gpt-csrf") && !models.contains(r#""b""#), "{models}");
}
