//! Commands that are interrupted while they wait for a server.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use test_support::{DrippingServer, TestDatabase};

use crate::panopticon;

/// Enough for a slow machine under load.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn interruption_while_a_server_answers_slowly_ends_without_a_panic() {
    let database = TestDatabase::prepared().await;
    let url = database.url();
    let interrupted = tokio::task::spawn_blocking(move || {
        for (arguments, path_end) in [
            (&["inspect"][..], "heartbeat"),
            (&["inspect", "--json"], "version"),
            (&["dump"], "collections"),
            (&["dump"], "get"),
            (&["inspect"], "count"),
            (&["migrate", "collection", "c", "--from"], "get"),
            (&["verify", "query", "--from"], "heartbeat"),
        ] {
            interrupt(&url, arguments, path_end);
        }
    });
    interrupted.await.expect("it does not panic");
    drop(database);
}

fn interrupt(database_url: &str, arguments: &[&str], path_end: &'static str) {
    let server = DrippingServer::start("c", path_end, "");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), arguments);
    command.arg(server.url()).env("DATABASE_URL", database_url).env("RUST_BACKTRACE", "1");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    server.wait(PATIENCE);
    let pid = Pid::from_raw(child.id().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, Signal::INT).expect("the signal is sent");
    let ended = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{arguments:?} {path_end}: {stderr}");
    assert!(
        !stderr.contains("panicked") && !stderr.contains("backtrace"),
        "{arguments:?} {path_end}: {stderr}"
    );
}
