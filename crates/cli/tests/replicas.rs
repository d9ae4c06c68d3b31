//! Two processes that read on a standby.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use test_support::{PostgresCluster, Replication, TestDatabase, count};

use crate::{
    json, run_with,
    serve::{Serving, blocking},
};

const WRITERS: usize = 4;
const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

/// The connections of a client to both processes.
struct Client([BufReader<TcpStream>; 2]);

/// A response: its status, the position that it names, and its JSON.
type Answer = (u16, Option<String>, Value);

impl Client {
    fn of(processes: &[Serving; 2]) -> Self {
        Self([0, 1].map(|process| {
            let address = (Ipv4Addr::LOCALHOST, processes[process].port("chroma"));
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_nodelay(true).expect("a socket can be set so");
            BufReader::new(stream)
        }))
    }

    fn send(&mut self, process: usize, path: &str, after: Option<&str>, body: &Value) -> Answer {
        let (connection, body) = (&mut self.0[process], body.to_string());
        let after = after.map_or_else(String::new, |lsn| format!("x-panopticon-lsn: {lsn}\r\n"));
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{after}content-length: {length}\r\n\r\n{body}"
        );
        connection.get_mut().write_all(request.as_bytes()).expect("the request is sent");
        let (mut status, mut position, mut length, mut line) = (0, None, 0, String::new());
        loop {
            line.clear();
            connection.read_line(&mut line).expect("it answers");
            let line = line.trim_end();
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                Some(("x-panopticon-lsn", lsn)) => position = Some(lsn.to_owned()),
                Some(("content-length", bytes)) => length = bytes.parse().expect("a number"),
                Some(_) => {}
                None => {
                    status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
                }
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).expect("a body");
        (status, position, serde_json::from_slice(&body).expect("the answer is JSON"))
    }

    /// The position after a successful request, and the answer.
    fn post(&mut self, process: usize, path: &str, after: Option<&str>, body: &Value) -> (String, Value) {
        let (status, position, answer) = self.send(process, path, after, body);
        assert!((200..300).contains(&status), "{status}: {answer}");
        (position.expect("it says what later reads must see"), answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_older_than_the_write_that_its_client_knows_of() {
    let cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    let (primary, standby) = (cluster.primary().url(), cluster.server(1).url());
    let checked = tokio::task::spawn_blocking(move || {
        let environment = [
            ("DATABASE_URL", primary.as_str()),
            ("DATABASE_REPLICA_URLS", standby.as_str()),
            ("MAINTENANCE", "off"),
        ];
        let processes = [0, 1].map(|_| Serving::start(&["chroma"], &environment));
        let checked = catch_unwind(AssertUnwindSafe(|| write_and_read(&processes)));
        for process in processes {
            assert_eq!(process.end(Signal::TERM).code, 0);
        }
        checked.unwrap_or_else(|panic| resume_unwind(panic));
    });
    checked.await.expect("no read is stale");
}

/// Writes and reads through both processes, and checks that no read is older than a write before it.
fn write_and_read(processes: &[Serving; 2]) {
    let mut client = Client::of(processes);
    let (created, collection) = client.post(0, COLLECTIONS, None, &json!({"name": "pairs"}));
    let path = format!("{COLLECTIONS}/{}", collection["id"].as_str().expect("an id"));
    let first = json!({"ids": ["first"], "embeddings": [[1.0, 2.0]], "documents": ["first"]});
    client.post(0, &format!("{path}/add"), None, &first);
    let (pairs, next) = (count(2_000, 100_000), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (path, next) = (&path, &next);
            let created = created.clone();
            scope.spawn(move || {
                let (mut client, mut known) = (Client::of(processes), created);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pairs {
                        return;
                    }
                    // One process writes, and the other one or the same one reads; each writer has a record of its own.
                    let (writes, reads) = (number % 2, (number / 2) % 2);
                    let (id, document) = (format!("w{writer}"), number.to_string());
                    let record = json!({"ids": [&id], "embeddings": [[1.0, 2.0]], "documents": [&document]});
                    let upsert = format!("{path}/upsert");
                    (known, _) = client.post(writes, &upsert, Some(&known), &record);
                    let get = json!({"ids": [&id], "include": ["documents"]});
                    // Within a process, a client need not say what it knows.
                    let after = (writes != reads).then_some(known.as_str());
                    let (_, found) = client.post(reads, &format!("{path}/get"), after, &get);
                    assert_eq!(found["documents"], json!([document]), "pair {number}: {writes} {reads}");
                }
            });
        }
    });
    for process in processes {
        let metrics = process.text("chroma", "/metrics");
        let of = |name: &str, role: &str| -> f64 {
            let line = metrics.lines().find(|line| line.starts_with(name) && line.contains(role));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
            value.unwrap_or_else(|| panic!("{name} {role}: {metrics}"))
        };
        let reads = |role| of("panopticon_database_reads_total", role);
        let (primary, replica) = (reads("role=\"primary\""), reads("role=\"replica\""));
        println!("{pairs} pairs: {primary} reads on the primary, {replica} on the replica");
        assert!(replica > primary, "the replica answers most reads: {primary} {replica}");
        assert!(of("panopticon_database_server_answers_reads", "role=\"replica\"") > 0.5);
        assert!(of("panopticon_database_replica_lag_bytes", "role=\"replica\"") >= 0.0);
        let ready: Value = serde_json::from_str(&process.text("chroma", "/ready")).expect("JSON");
        let servers = ready["data"]["servers"].as_array().expect("the servers are listed");
        assert_eq!(servers.len(), 2, "{ready}");
        let replica = &servers[1];
        assert_eq!((&replica["role"], &replica["up"]), (&"replica".into(), &true.into()), "{ready}");
        assert!(replica["share_of_reads"].as_f64().is_some_and(|share| share > 0.5), "{ready}");
    }
    let get = format!("{path}/get");
    // The server may have closed the other one's connections meanwhile.
    let mut client = Client::of(processes);
    let mut status = |lsn| client.send(0, &get, Some(lsn), &json!({})).0;
    assert_eq!(["primary", "FFFFFFFF/FFFFFFFE", "0/0", "yesterday"].map(&mut status), [200, 200, 200, 422]);
}

#[tokio::test]
async fn servers_that_are_no_replicas_are_refused_without_their_passwords() {
    let [database, other] = [TestDatabase::prepared().await, TestDatabase::prepared().await];
    let (url, other) = (database.url(), other.url());
    let replicas = |urls: &str| {
        let (url, urls) = (url.clone(), urls.to_owned());
        async move {
            let environment = [("DATABASE_URL", url.as_str()), ("DATABASE_REPLICA_URLS", urls.as_str())];
            run_with(&["serve", "chroma", "--port", "0"], &environment).await
        }
    };
    let refused = replicas(&other).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    for says in ["DATABASE_REPLICA_URLS", "cannot be used as a replica", "name the primary's database"] {
        assert!(refused.stderr.contains(says), "{says}: {refused:?}");
    }
    let refused = replicas("mysql://u:s3cret@h/d").await;
    assert!(refused.code == 2 && !refused.stderr.contains("s3cret"), "{refused:?}");
    let environment = [("DATABASE_REPLICA_URLS", other.as_str())];
    let shown = run_with(&["config", "--json"], &environment).await;
    let value = json(&shown)["DATABASE_REPLICA_URLS"]["value"].clone();
    assert!(value.as_str().is_some_and(|value| value.contains(":***@")), "{value}");
}

#[tokio::test]
async fn doctor_examines_replicas() {
    let settings = [("hot_standby_feedback", "off")];
    let mut cluster = PostgresCluster::start(2, Replication::Asynchronous, &settings).await;
    let replicas = [1, 2].map(|standby| cluster.server(standby).url()).join(",");
    cluster.server_mut(2).kill();
    let primary = cluster.primary().url();
    let environment = [("DATABASE_URL", primary.as_str())];
    let examined = run_with(&["doctor", "--json", "--database-replica-urls", &replicas], &environment).await;
    assert_eq!(examined.code, 6, "{examined:?}");
    let report = json(&examined);
    assert_eq!(report["replicas"][0]["problem"], Value::Null, "{report}");
    assert_eq!(report["replicas"][0]["hot_standby_feedback"], false);
    assert!(report["replicas"][0]["lag_bytes"].is_u64());
    let findings = report["findings"].as_array().expect("a list");
    for code in ["replica_unfit", "replica_cancels_reads"] {
        assert!(findings.iter().any(|finding| finding["code"] == code), "{code}: {findings:?}");
    }
}

#[tokio::test]
async fn lone_standby_serves_reads_and_refuses_writes() {
    let cluster = PostgresCluster::start(1, Replication::Asynchronous, &[]).await;
    let (primary, standby) = (cluster.primary().url(), cluster.server(1).url());
    let query = json!({"query": "Why?", "theme": "t", "id": "known"});
    let stored = blocking(move || {
        let serving = Serving::start(&["query"], &[("DATABASE_URL", &primary)]);
        let stored = serving.data("query", "POST", "/api/v1/queries", &query);
        assert_eq!(serving.end(Signal::TERM).code, 0);
        stored
    })
    .await;
    cluster.wait_for_replay(1).await;
    let ended = blocking(move || {
        let serving = Serving::start(&["query"], &[("DATABASE_URL", &standby)]);
        let get = |path: &str| serving.data("query", "GET", path, &Value::Null);
        assert_eq!(get("/api/v1/queries/known"), stored);
        assert_eq!(get("/api/v1/queries/count")["count"], 1);
        let search = json!({"query": "Why not?"});
        let found = serving.data("query", "POST", "/api/v1/queries/search", &search);
        assert_eq!(found[0]["id"], "known");
        let new = json!({"query": "How?", "theme": "t"});
        assert_eq!(serving.status("query", "/api/v1/queries", &new), 503);
        let ready = serving.text("query", "/ready");
        assert!(ready.contains("accepts no writes at present"), "{ready}");
        let health: Value = serde_json::from_str(&serving.text("query", "/health")).expect("JSON");
        assert_eq!(health["status"], "success");
        serving.end(Signal::TERM)
    })
    .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("standby"), "it says so at its start: {ended:?}");
}
