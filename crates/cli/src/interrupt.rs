//! Signals, and blocking work that they can end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use records::Unfinished;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGINT and SIGTERM, handled from the moment that the value is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub(crate) fn new() -> Self {
        let handled = |kind| signal(kind).expect("SIGINT and SIGTERM can be handled");
        Self { interrupt: handled(SignalKind::interrupt()), terminate: handled(SignalKind::terminate()) }
    }

    /// Returns at the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Says whether blocking work should end early.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(
    // Shared between the work and the guard that lives in the async task.
    Arc<AtomicBool>,
);

impl Interrupt {
    /// Whether the command was interrupted.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Raises its interrupt when the async task is dropped, which is how a command ends at a signal.
struct RaiseOnDrop(Interrupt);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work`, which blocks and asks its [`Interrupt`] between records, away from the async threads.
pub(crate) async fn run_interruptibly<T: Send + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let interrupt = Interrupt::default();
    let _guard = RaiseOnDrop(interrupt.clone());
    to_end(move || work(&interrupt)).await
}

/// Runs `work`, which blocks, away from the async threads. The end of the process waits for it, and for what comes of it
/// to be dropped: it may have servers to stop and files to remove.
pub(crate) async fn to_end<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let unfinished = Unfinished::begin();
    match tokio::task::spawn_blocking(move || (work(), unfinished)).await {
        Ok((result, _unfinished)) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
