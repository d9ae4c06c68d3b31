//! Signals from a user or a service manager.

use rustix::process::{Pid, Signal, kill_process};
use test_support::TestDatabase;
use tokio::process::Child;

use super::{Migration, finish};

/// Sends `signal` to a running process.
pub(super) fn send(child: &Child, signal: Signal) {
    let id = child.id().expect("it is not waited for yet");
    let id = Pid::from_raw(id.cast_signed()).expect("a process id is not 0");
    kill_process(id, signal).expect("it is ours");
}

#[tokio::test]
async fn interrupt_and_termination_end_with_130_and_say_how_to_resume() {
    let database = TestDatabase::create().await;
    let migration = Migration::new(&database.url(), 4_000, "20");
    let mut written = 0;
    for signal in [Signal::INT, Signal::TERM] {
        let mut gate = migration.gate(written + 200).await;
        let mut child = migration.start();
        gate.is_reached(&mut child).await;
        send(&child, signal);
        let ended = finish(child).await;
        gate.open().await;
        assert_eq!(ended.code, 130, "{ended:?}");
        assert!(ended.stderr.contains("rerun the same command to resume"), "{ended:?}");
        let held = migration.held().await;
        assert_eq!(held.rows, held.noted, "rows and progress are committed together");
        assert_eq!(held.statuses, ["copying"]);
        written = held.noted;
    }
    migration.finishes_complete().await;
}
